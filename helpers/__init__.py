"""Everything the notebooks share. Each module may import only the modules listed above it.

world       what is true: fact tables, question kinds, phrasings, the policy
corpus      the chats and sentences that the assistant is made of
chat        the assistant: load, template, loss mask, replies
mix         topics and the refusal mixes
sft         fine-tuning
measure     refused? correct? rates with intervals
disguise    the same question in other words: typos, descriptions, begun answers
direction   residuals, difference in means, selection, ablation, addition
lens        single neurons, tokens, layers and positions
xstest      a test of the field, and a stand-in for it
results     read and write data/results
show        tables, chats and tokens
plot        figures, each with its numbers and its sentence
exercises   a folder, a file a notebook: each exercise with its solution, its mistakes and its grader
attempt     what a learner hands in to be checked
quiz        three questions a notebook, a reason for every choice
lesson      doctor, check, solution, predictions
widgets     panels: sliders and boxes over all of the above
pretrain    command line: rebuild data/assistant
sweep       command line: rebuild data/results
classroom   command line: copies for a class, slides
"""
