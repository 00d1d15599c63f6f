"""A frozen model behind soft prompts, called as a transformers model is: for training scripts that exist already."""

from softprompt.wrapper.collator import DataCollatorForCausalLM as DataCollatorForCausalLM
from softprompt.wrapper.soft_prompt_model import SoftPromptModel as SoftPromptModel
