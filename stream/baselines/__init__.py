"""The formats that PaDeLLM-NER is compared with, as prompts and answers of token ids.

AutoReg_Struct answers all labels at once, ``((LOC : Japan) , (ORG : FIFA))``; AutoReg_Aug repeats the text
with its entities marked in place, ``[Japan | LOC] told [FIFA | ORG]``; OneStep answers every label apart, all
its mentions in one sequence, ``Japan , Korea``. A prompt is a count prompt of the template; that of the first
two names all labels. What gives an answer its structure is one token each; mentions are spelled as in the
text.
"""
