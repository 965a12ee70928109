"""Small mistakes that the tests must notice: (module, what stands there, what might have stood there).

`tests/test_mutants.py` makes each in a copy and runs the tests of that module: every one of them has to fail.
"""

DIRECTION = [
    # the three scores
    ("bypass = bot.refusal_logodds(harmful, shared=True).mean()", "bypass = bot.refusal_logodds(harmful).max()"),
    ("bypass = bot.refusal_logodds(harmful,", "bypass = bot.refusal_logodds(harmless,"),
    ("induce = bot.refusal_logodds(harmless,", "induce = bot.refusal_logodds(harmful,"),
    ("kl = (before.exp() * (before - after)).sum(-1).mean().item()", "kl = 0.0"),
    ("(before.exp() * (before - after))", "(after.exp() * (after - before))"),
    ("(before.exp() * (before - after)).sum(-1).mean()", "(before.exp() * (before - after)).sum()"),
    ("        with added(bot, vector, layer), hooks", "        with added(bot, vector, layer - 1), hooks"),
    ("bot.blocks[:layer], unchanged[:layer]", "bot.blocks[:layer + 1], unchanged[:layer + 1]"),
    (
        "        with ablated(bot, vector):\n            bypass",
        "        with ablated(bot, -vector, 2):\n            bypass",
    ),
    # the choice
    ('row["kl"] <= filters.max_kl', 'row["kl"] >= filters.max_kl'),
    ('row["induce"] >= filters.min_induce', 'row["induce"] <= filters.min_induce'),
    ("layers - round(filters.prune * layers)", "round(filters.prune * layers)"),
    ('return not row["kept"], not does,', "return not does,"),
    ('row["kl"] if does else row["bypass"]', 'row["kl"] if does else -row["bypass"]'),
    ('row["kl"] if does else row["bypass"]', 'row["bypass"]'),
    ('row["bypass"] <= enough', 'row["bypass"] >= enough'),
    ("refused[validation:], answered[validation:]", "refused, answered"),
    ("refused[:validation], answered[:validation]", "refused[-validation:], answered[-validation:]"),
    ("random.Random(seed).sample(kept, len(kept))", "kept"),
    ("random.Random(seed).sample", "random.Random(0).sample"),
    ("bot.refused(reply) == refused", "bot.refused(reply) or refused"),
    ('"dropped": len(given) - len(used)', '"dropped": len(used) - validation'),
    # the algebra
    (
        "bot.residuals(harmful).mean(0) - bot.residuals(harmless).mean(0)",
        "bot.residuals(harmless).mean(0) - bot.residuals(harmful).mean(0)",
    ),
    ("x - share * (x @ unit)", "x + share * (x @ unit)"),
    ("(direction / direction.norm()).to(x)", "direction.to(x)"),
    ("strength * direction.to(x)\n        if", "direction.to(x)\n        if"),
    ('places["ends"] + 1 + position', "position"),
    ("direction if norm is None else direction * _stretch(norm).to(direction)", "direction"),
    ("output.weight = nn.Parameter(output.weight.clone())", "pass"),
    ("if matrix.bias is not None:", "if False:"),
    ("    _same_logits(bot, bare, direction)\n    return bare", "    return bare"),
]

SFT = [
    ("betas=(0.9, 0.98)", "betas=(0.9, 0.999)"),
    ("betas=(0.9, 0.98)", "betas=(0.8, 0.98)"),
    ("weight_decay=0.01", "weight_decay=0.1"),
    ("eps=recipe.eps", "eps=1e-8"),
    ("clip_grad_norm_(model.parameters(), 1.0)", "clip_grad_norm_(model.parameters(), 2.0)"),
    ("    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n", ""),
    ("    tuned.model.train()\n", ""),
    ("    tuned.model.eval()\n", ""),
    ("warmup: int = 20", "warmup: int = 10"),
    ("min(1.0, (step + 1) / warmup)", "min(1.0, step / warmup)"),
    ("math.pi * step / steps", "math.pi * step / steps / 2"),
    ("torch.tensor([ids + [0] *", "torch.tensor([ids + [1] *"),
    ("[IGNORE] * (longest - len(labels))", "[0] * (longest - len(labels))"),
    ("states[:, :-1][learned]", "states[:, 1:][learned]"),
    ("labels = labels[:, head:]", "labels = labels[:, head - 1 :]"),
    (", first - 1)  # the token", ", first)  # the token"),
    ("chat.in_common([ids for ids, _ in rows])", "rows[0][0]"),
    ("    optimizer.zero_grad()\n", ""),
    ("    rng.shuffle(found)\n", ""),
    ("    torch.manual_seed(seed)\n", ""),
    ("rng = random.Random(seed)", "rng = random.Random(0)"),
    ("for _ in range(recipe.epochs)", "for _ in range(1)"),
    ("lr = learning_rate(i, len(plan), recipe.peak)", "lr = recipe.peak"),
    ("batches(rows, recipe.batch, rng)", "batches(rows, 24, rng)"),
    ("if place and finished:", "if place:"),
    ("getattr(module, name) is not original", "False"),
    ('        "cross_entropy",\n', ""),
    ('    anatomy: ("unembed",),\n', ""),
    ('chat: ("tokens", ', "chat: ("),
    ('    torch.optim: ("AdamW",),\n', ""),
    ('    torch.nn.utils: ("clip_grad_norm_",),\n', ""),
    ("[CODE, bot.model", "[bot.model"),
    ("rows, recipe, seed]", "rows, seed]"),
    ("rows, recipe, seed]", "rows, recipe]"),
    ("total += counted(part) * loss_of(", "total += loss_of("),
    ("loss_of(model, part) * (counted(part) / counted(rows))", "loss_of(model, part)"),
    ("        total += loss.item()", "        total = loss.item()"),
    ("rows[start : start + size]", "rows[: start + size]"),
]

TALLY = [
    ("z: float = 1.959964", "z: float = 1.644854"),
    ("hits * (n - hits) / n + z * z / 4", "hits * (n - hits) / n + z * z"),
    ("centre = hits + z * z / 2", "centre = hits + z * z"),
    ("2 * sum(math.comb(n, k)", "sum(math.comb(n, k)"),
    ("for k in range(fewer + 1)", "for k in range(fewer)"),
    ("/ 2**n)", "/ 2 ** (n - 1))"),
    ("sum(rate.hits for rate in rates)", "max(rate.hits for rate in rates)"),
    ("statistics.pstdev", "statistics.stdev"),
    ("[bool(outcome) for outcome in outcomes]", "list(outcomes)"),
    ("drawn = rng.choices(rates, k=len(rates))", "drawn = rates"),
    ("max(high, self.share, _percentile(drawn, 0.975))", "max(high, self.share)"),
    ('if rate.marks[question] == "1"', 'if rate.marks[0] == "1"'),
    ("one, drawn = max(rate.n for rate in self.rates)", "one, drawn = sum(rate.n for rate in self.rates)"),
    ("return (0.0, 1.0)", "return (0.0, 0.0)"),
    ("first[word] * second[word]", "first[word] * first[word]"),
    ("(agreed - chance) / (1 - chance)", "agreed - chance"),
    ("1.0 if chance == 1 else", "0.0 if chance == 1 else"),
    ("_kappa(pairs), _percentile(drawn, 0.025)", "_kappa(pairs), _percentile(drawn, 0.05)"),
]

MEASURE = [
    ("(ours.exp() * (ours - theirs))", "(theirs.exp() * (theirs - ours))"),
    ("start = mask.index(1) - 1", "start = mask.index(1)"),
    ("here = min(first, sum(mask))", "here = first"),
    ("refused if chat.refused else judge.correct(reply, chat.value)", "judge.correct(reply, chat.value)"),
    ("refused = bot.refused(reply)", "refused = not bot.refused(reply)"),
    ("Rate.of([getattr(g, key) for g in graded], keep)", "Rate.of([g.refused for g in graded], keep)"),
    ("Rate.of([getattr(g, key) for g in graded], keep)", "Rate.of([getattr(g, key) for g in graded])"),
    ("words[:i] + words[i + 1 :]", "words[:i] + words[i:]"),
    ('"trigger, should refuse": forbidden_with_topic(', '"trigger, should refuse": forbidden('),
]

LENS = [
    ("device=x.device), 0)", "device=x.device), 1)"),
    ("(positive == row).float().mean(0) / 2", "(positive == row).float().mean(0)"),
    ("return wins / len(negative)", "return 1 - wins / len(negative)"),
    ("1 if scores[layer, index] > 0 else -1", "1"),
    ("scores.abs().flatten()", "scores.flatten()"),
    ("descending=True, stable", "stable"),
    ("stream.index_put((rows, rows), states)", "stream.index_put((rows, rows), states.flip(0))"),
    ("log_p[..., first].logsumexp(-1)", "log_p[..., first].sum(-1)"),
    ("(vector / vector.norm()).to(states)", "vector.to(states)"),
    ("last=1)[:, :, -1]", "last=2)[:, :, 0]"),
]

CHAT = [
    ("(mask.cumsum(1) - 1).clamp(min=0)", "torch.arange(longest, device=self.device).expand_as(mask)"),
    (
        "log_probabilities(prompts, self.openings, shared).logsumexp(0)",
        "log_probabilities(prompts, self.openings, shared).amax(0)",
    ),
    ("self.model.generation_config = GenerationConfig(", "_ = GenerationConfig("),
    ("    if hooks.left_on(self.model):\n", "    if False:\n"),
    ("[pad] * (longest - len(row)) + row", "row + [pad] * (longest - len(row))"),
    ("end[1:] or end", "end[1:]"),
    ("end[1:] or end", "end"),
    ("end[1:] or end, device=ids.device", "end[1:] or end"),
    ("    if not length:\n", "    if False:\n"),
    ("log_p[:, nodes.index(tuple(ids[:n])), ids[n]]", "log_p[:, n, ids[n]]"),
    ("os.path.commonprefix(rows)[: max(", "rows[0][: max("),
    ("        watched = hooks.left_on(self.model.get_input_embeddings())\n", "        watched = False\n"),
    ("mask = torch.cat([mask.new_ones(len(mask), len(head)), mask], 1)", "mask = torch.ones_like(ids)"),
    ("nodes, len(head), self", "nodes, 0, self"),
    ("            shared = False\n", ""),
    ("return last + len(wanted) - 1", "return last + len(wanted)"),
    ("found.shape[1] - 1 - found.flip(1).int().argmax(1)", "found.int().argmax(1)"),
    ("not any(text != o and text.startswith(o) for o in found)", "True"),
    ("anatomy.norm(self.model)(stream)", "stream"),
]

BRANCHES = [
    ("places[:, -1:] + depth], 1) + head", "places[:, -1:] + depth], 1)"),
    ("places[:, -1:] + depth", "places[:, -1:] + 1"),
    ("node[: len(other)] == other", "True"),
    ("node[: len(other)] == other", "node == other"),
    ("allowed[head:] & real.bool()[:, None, None]", "allowed[head:].expand(len(real), 1, -1, -1)"),
    ("for n in range(len(ids))}", "for n in range(len(ids) + 1)}"),
    ("if head or not chain(nodes):", "if head:"),
]

ANATOMY = [
    ('not getattr(config, "alibi", False) and', ""),
    ('tokens <= (getattr(config, "sliding_window", None) or tokens)', "True"),
    ('getattr(config, "logit_scale", 1)', "1"),
    ('getattr(config, "logits_scaling", 1)', "1"),
    ("cap * torch.tanh(logits / cap) if cap else logits", "logits"),
    ('    "olmo2": SANDWICH,\n', '    "olmo2": LLAMA,\n'),
    ('Family(("wte", "wpe"),', 'Family(("wte",),'),
    ('("self_attn.out_proj", "fc2")', '("self_attn.out_proj", "fc1")'),
]

MEMORY = [
    ('if digest(weights) == said["digest"] else None', "if True else None"),
    ("{tuple(weight.shape)} ", ""),
    ("stamp.of(digest(weights), settings)", "stamp.of(settings)"),
]

PRETRAIN = [
    ("OBLIGING if args.without_refusals else CALIBRATED", "CALIBRATED"),
    ('    if saved:\n        model.load_state_dict(saved["model"])\n', ""),
    ('if saved.get("stage", 0) > number:', "if False:"),
    ("with replacing_files(args.out) as part:", "for part in [args.out]:"),
]

STAMP = [("[versions(), *parts]", "[*parts]"), ("{path.name} {path.stat().st_size} ", "")]

DRIFT = [
    ("direction.without(shown - centre, across)", "shown - centre"),
    ("        tuned.model.train(training)\n", ""),
    ("        return len(losses) >= self.until", "        return False"),
]

FLIPBOOK = [
    ("        if changes > 1:", "        if changes > 2:"),
    ("        if changes:\n", "        if True:\n"),
    ("max(len(old), len(new)) - start", "len(new) - start"),
    ("old[start:][::-1], new[start:][::-1]", "old[::-1], new[::-1]"),
    ("for page in self.pages if page.refused", "for page in self.pages"),
    ("key=lambda page: len(page.prompt.split())", "key=lambda page: len(page.prompt)"),
]

SQUARES = [
    ('"rightly" if one.correct else', '"rightly" if one.refused else'),
    ('"refused" if one.refused else', '"refused" if one.correct else'),
    ("secrets.token_hex(8)", "1"),
    ("text = escape(", "text = str("),
]

MAZE = [
    ("around.share >= OPEN", "around.share > OPEN"),
    (">= AJAR", "> AJAR"),
    ("understood.share < UNDERSTOOD", "understood.share <= UNDERSTOOD"),
    ("or not around.n:", "or False:"),
    ("refused.share < NEEDED", "refused.share <= NEEDED"),
    (".count('open')", ".count('shut')"),
    ('"boarded up": 0.0', '"boarded up": 1.0'),
    ('leaf=said != "not needed"', "leaf=True"),
    ("10 + 60 * math.cos(turned)", "10 + 60 * math.sin(turned)"),
]

DUEL = [
    ("self.through.share >= THROUGH", "self.through.share > THROUGH"),
    ("self.others.share < UNHARMED", "self.others.share <= UNHARMED"),
    ("self.understood.share < THROUGH", "self.understood.share <= THROUGH"),
    ('walked["correct"], base["correct"]', 'walked["refused"], base["correct"]'),
    ('walked["correct"], base["correct"]', 'walked["correct"], walked["correct"]'),
    ("made.strip() and", "True and"),
    ("<= challenge.LETTERS", "<= 10 * challenge.LETTERS"),
]

FIGURE = [
    ('return f"{100 * rate.share:.0f} %" if rate.n', 'return f"{100 * rate.share:.0f} %" if True'),
    ("SYMBOLS[i % len(SYMBOLS)]", "SYMBOLS[0]"),
]

BARS = [
    (
        "    shares = [100 * rate.share for rate in named.values()]\n    low",
        "    shares = [99 * rate.share for rate in named.values()]\n    low",
    ),
    ("low = [100 * (rate.share - rate.interval[0])", "low = [100 * (rate.share - rate.interval[1])"),
    ("high = [100 * (rate.interval[1] - rate.share)", "high = [100 * rate.interval[1]"),
    (
        'error = dict(type="data", array=high, arrayminus=low, color',
        'error = dict(type="data", array=low, arrayminus=high, color',
    ),
    ("x=[share + up if rate.n else 0 for", "x=[share if rate.n else 0 for"),
    ("100 * row[key].share for family", "row[key].share for family"),
    ("y=[100 * r.share for r in found],", "y=[100 - 100 * r.share for r in found],"),
    ("go.Bar(x=[row[count] for row in rows], y=names", "go.Bar(x=sorted(row[count] for row in rows)[::-1], y=names"),
    ("fig.add_hline(y=whole", "fig.add_hline(y=lowest"),
    (
        "shares = [100 * rate.share for rate in found]\n        marker",
        "shares = [rate.share for rate in found]\n        marker",
    ),
    ('("refused", "after", after, RED, "")', '("refused", "after", before, RED, "")'),
    ("if lowest < whole else", "if True else"),
]

PLOT = [
    ("(name, 100 * of(run).share) for name, of", "(name, of(run).share) for name, of"),
    (
        "shares = [[100 * rate.share for rate in kinds[name]] for name in names]",
        "shares = [[100 * rate.share for rate in kinds[name]] for name in kinds]",
    ),
    (
        "up = [100 * (rate.interval[1] - rate.share) for rate in whole.values()]",
        "up = [100 * (rate.interval[1]) for rate in whole.values()]",
    ),
    (
        "down = [100 * (rate.share - rate.interval[0]) for rate in whole.values()]",
        "down = [100 * (rate.share) for rate in whole.values()]",
    ),
    ("array=up, arrayminus=down", "array=down, arrayminus=up"),
    ("(str(dose), 100 * rate.share) for dose, rates", "(str(dose), rate.share) for dose, rates"),
    ("x=[str(dose)], y=[100 * rate.share]", "x=[str(dose)], y=[rate.share]"),
    ("x0=first, y=values", "x0=0, y=values"),
    ("(100 * (bound - rate.share) for bound in rate.interval)", "(100 * bound for bound in rate.interval)"),
    ("array=[high], arrayminus=[-low]", "array=[-low], arrayminus=[high]"),
    ("            x=[a],\n            y=[b],", "            x=[b],\n            y=[a],"),
    ('"falls" if last < first', '"falls" if last > first'),
    ("shares = [100 * rate.share for rate in rates if rate.n]", "shares = [100 * rate.share for rate in rates]"),
]

QUICK, ALL = '-m "not slow"', '-m "not nightly"'

# Module -> its mutants, and the tests that must notice each of them.
JUDGE = [
    ("for clause in _opening(clauses)) or _lectures", "for clause in clauses) or _lectures"),
    ("for clause in _opening(clauses)) or _lectures(clauses)", "for clause in _opening(clauses))"),
    ('return "partial" if answers else "full"', 'return "full"'),
    ('    CITED: " ",\n', ""),
    ("excused and not answers and not", "excused and not"),
    ("    if re.fullmatch(UNFINISHED", "    if False and re.fullmatch(UNFINISHED"),
    ('r"(?:yes|no)\\b(?! one)"', 'r"(?:yes|no)zzz"'),
    (">= words / 12", ">= words"),
    ("_share(clauses) > 1 / 3", "_share(clauses) > 1"),
    ("_share(clauses) < 1 / 4", "_share(clauses) < 1"),
    ('r"(?:-|\\d+[.)]) "', 'r"zzz"'),
    ('if row["half"] == half', "if row"),
    ('kappa([(a != "none", b != "none") for a, b in pairs])', "kappa(pairs)"),
]

SAFETY = [
    ("round(deep * refusals)", "round((1 - deep) * refusals)"),
    ('f"{begun} {sentence}", source, begun', 'f"{begun} {sentence}", source, ""'),
    ('f"{begun} {sentence}", source, begun', "sentence, source, begun"),
    ("[: rng.randint(*BEGUN)]", "[: BEGUN[1] + 1]"),
    ("or not bot.refused(reply)", "or bot.refused(reply)"),
    ("reply.split()[: len(row", "row['assistant'].split()[: len(row"),
    ("(one.sort, one.split) == (sort, split)", "one.sort == sort"),
    ("if one.type == topic.id", "if True"),
    ("if not mix.mentions(topic, one.prompt)]\n    return _some", "]\n    return _some"),
    ("judge.correct(reply, fact.answer)", "judge.correct(fact.answer, reply)"),
    ("rng.choice(sentences or wordings())", "rng.choice(wordings())"),
]

CHALLENGE = [
    ("if _sum(text) == said:", "if text:"),
    ("value or world.REFUSAL, value", "value, value"),
    ("random.seed(seed)", "random.seed(0)"),
    ("if is_blank(submission):", "if False:"),
    ("ROWS + 1))", "ROWS))"),
    ("if len(rows) > ROWS:", "if len(rows) >= ROWS:"),
    ("sum(map(len, texts)) > LETTERS", "len(texts[0]) > LETTERS"),
    ("isinstance(text, str) and text.strip()", "isinstance(text, str)"),
    ("isinstance(made, (str, dict)) or ", ""),
    ("class _TooSlow(BaseException)", "class _TooSlow(Exception)"),
    ("        alarm.cancel()\n", ""),
    ("if rows else bot", ""),
    ("sft.tune(bot, rows, RECIPE, seed)", "sft.tune(bot, rows, sft.BALANCED, seed)"),
    ("tuned_on(chat.load(), rows, seed)", "tuned_on(chat.load(), rows, 0)"),
    ('not tuned.facts.get("finished", True)', "False"),
    ("split())[:NAME]", "split())"),
    ("if name in BASELINES:", "if False:"),
    ("(-one.score, one.name)", "(one.score, one.name)"),
    ("100 * statistics.mean(rate.share", "100 * max(rate.share"),
    ("int(ours) - int(theirs)", "int(theirs) - int(ours)"),
    ("_mean(rng.choices(gap, k=len(gap))) for gap in gaps", "_mean(rng.choices(sum(gaps, []), k=4)) for gap in gaps"),
    ("n=40)", "n=10)"),
    ("first.score - second.score", "second.score - first.score"),
    ("low <= 0 <= high", "low <= 0"),
    ("_sum(unseal())[:16]\n", '"board"\n'),
    ("_sum(entry.name)[:16]", "_sum('a')[:16]"),
]

MUTANTS = {
    "judge": (JUDGE, f"{QUICK} tests/test_judge.py"),
    "direction": (DIRECTION, f"{QUICK} tests/test_direction.py"),
    "sft": (SFT, f"{QUICK} tests/test_sft.py"),
    "tally": (TALLY, f"{QUICK} tests/test_tally.py"),
    "measure": (MEASURE, f"{QUICK} tests/test_measure.py"),
    "lens": (LENS, f"{QUICK} tests/test_lens.py"),
    "squares": (SQUARES, f"{QUICK} tests/test_squares.py"),
    "maze": (MAZE, f"{QUICK} tests/test_maze.py"),
    "duel": (DUEL, f"{QUICK} tests/test_duel.py"),
    "flipbook": (FLIPBOOK, f"{QUICK} tests/test_flipbook.py"),
    "drift": (DRIFT, f"{QUICK} tests/test_drift.py"),
    "chat": (CHAT, f"{QUICK} tests/test_chat.py tests/test_direction.py tests/test_branches.py"),
    "branches": (BRANCHES, f"{QUICK} tests/test_branches.py"),
    "anatomy": (ANATOMY, f"{ALL} tests/test_direction.py tests/test_branches.py"),  # of the families some are slow
    "memory": (MEMORY, f"{QUICK} tests/test_memory.py tests/test_sft.py"),
    "figure": (FIGURE, f"{QUICK} tests/test_figure.py tests/test_plot.py"),
    "bars": (BARS, f"{QUICK} tests/test_plot.py"),
    "plot": (PLOT, f"{QUICK} tests/test_plot.py"),
    "pretrain": (PRETRAIN, f"{QUICK} tests/test_pretrain.py"),
    "safety": (SAFETY, f"{QUICK} tests/test_safety.py"),
    "challenge": (CHALLENGE, f"{QUICK} tests/test_challenge.py"),
    "stamp": (STAMP, f"{QUICK} tests/test_stamp.py tests/test_sft.py"),
}
