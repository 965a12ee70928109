"""Everything the notebooks share. Each module may import only the modules listed above it.

paths       where things are; files that are written whole or not at all
world       what is true: fact tables, question kinds, phrasings, the policy
corpus      the chats and sentences that the assistant is made of
tally       rates with intervals, pairs, several runs together
judge       is this reply a refusal? is it right?
smollm2     a real chat model that pip delivers, made into safetensors once
hooks       reading and changing what flows between the parts of a model
anatomy     where each family of models keeps its parts
branches    several begun replies behind one prompt, in one pass
chat        the assistant: load, template, loss mask, and `Bot`, the one seam to a model
stamp       what a result was made with, as a hash
memory      what has taken long is remembered on disk
lora        fine-tuning with few weights
mix         topics, the refusal mixes and how many rows they have
sft         fine-tuning, and its recipes
measure     exams: what is refused, what is right, how far a bot has moved
disguise    the same question in other words: typos, descriptions, begun answers
direction   difference in means, selection, ablation, addition
lens        single neurons, tokens, layers and positions
drift       where prompts lie inside a model, step by step of a fine-tune or block by block
flipbook    a prompt that changes by one word a page, and how far each version is from being refused
attack      the obvious objections to "one direction carries refusal", measured
trials      what is done to the assistant and measured: one row of results each
safety      a safety fine-tune for a real model: its rows, its exams
xstest      a test of the field, and a stand-in for it
results     read and write data/results
real        the story on a real model: what is done to it, and what is measured
evidence    what was measured on it, as tables
show        tables, chats and tokens
figure      what every figure has: one look, a sentence, its numbers as a table
bars        rates, counts and log-odds as bars
plot        dots, curves, planes and maps
squares     every prompt of an exam as one small mark, to click and read
maze        the disguises as doors, each as far open as it gets refused questions answered
film        points that move over a plane: a figure to play, a sketch while training runs
attempt     what a learner hands in to be checked
exercises   one file a notebook: solutions, graders, usual mistakes and their hints
quiz        three questions a notebook, a reason for every choice
challenge   a game: whose mix teaches a policy best? A budget, a hidden exam, a score board
duel        a game for two teams: one builds the wall, the other walks around it
lesson      doctor, check, solution, predictions, challenges
widgets     panels: sliders and boxes over all of the above
pretrain    command line: rebuild data/assistant
sweep       command line: rebuild data/results
bench       command line: how fast this is, beside what else there is
classroom   command line: copies for a class, slides
page        command line: the demo as one file that needs no installation
tools       command line, for whoever looks after the series: gallery, glossary, JupyterHub, browser
"""

import os

# Threads that wait for each other spin, and starve whoever else computes on these cores: a second notebook, a training
# beside the kernel, another learner on the server. With so few turns they wait as fast when alone, and hardly get in the
# way when not. Read when torch is loaded, so it has to be said here.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
