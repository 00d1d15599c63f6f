"""A frozen model with soft prompts and the interface of a transformers model, for existing training scripts."""

from softprompt.hf_model.data_collator import DataCollatorForCausalLM as DataCollatorForCausalLM
from softprompt.hf_model.soft_prompt_model import SoftPromptModel as SoftPromptModel
