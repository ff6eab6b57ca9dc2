"""Networks: tensors in, logits out. They know neither process, domain nor reward."""
