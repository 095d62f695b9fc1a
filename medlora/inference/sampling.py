"""Which token comes next."""

from __future__ import annotations

import secrets

import torch

from medlora.inference.protocol import RequestError, Sampling

# Nearly always enough for the nucleus, and far cheaper to find than the order of a whole vocabulary.
_FIRST_LOOK = 256


class Sampler:
    """Chooses tokens for one answer: greedy at temperature 0, else from the nucleus with its own seed.

    Source: repetition penalty as in CTRL (Keskar et al. 2019, section 4.1), over prompt and answer;
    nucleus as in Holtzman et al. 2020: the smallest set whose probability reaches top_p.
    """

    def __init__(self, sampling: Sampling, prompt: list[int], vocabulary: int, device: torch.device) -> None:
        self._settings = sampling
        self.seed = secrets.randbits(31) if sampling.seed is None else sampling.seed
        self._random = torch.Generator().manual_seed(self.seed)
        self._seen: torch.Tensor | None = None
        if sampling.repetition_penalty != 1.0:
            self._seen = torch.zeros(vocabulary, dtype=torch.bool, device=device)
            self._seen[torch.tensor(prompt, device=device)] = True

    def choose(self, logits: torch.Tensor) -> int:
        """The next token.

        Shapes: logits (V,).
        Raises: RequestError if they are not finite.
        """
        scores = logits.float()
        if self._seen is not None:
            penalty = self._settings.repetition_penalty
            scores = torch.where(
                self._seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores
            )
        best = int(scores.argmax())
        if not bool(torch.isfinite(scores[best])):
            raise RequestError(
                "adapter: its weights give numbers that are not finite; it is damaged, choose another one"
            )
        token = best if self._settings.temperature == 0 else self._draw(scores)
        if self._seen is not None:
            self._seen[token] = True
        return token

    def _draw(self, scores: torch.Tensor) -> int:
        """One token from the nucleus; the draw is made on the CPU, so a seed means the same everywhere.

        Why moved before it is widened: an Apple GPU has no float64.
        """
        scaled = scores / self._settings.temperature
        total = torch.logsumexp(scaled, dim=-1)
        count = min(_FIRST_LOOK, scaled.shape[-1])
        values, tokens = scaled.topk(count)
        shares = (values - total).exp()
        if float(shares.sum()) < self._settings.top_p and count < scaled.shape[-1]:
            values, tokens = scaled.sort(descending=True)
            shares = (values - total).exp()
        inside = shares.cumsum(-1) - shares < self._settings.top_p
        inside[0] = True
        kept = (shares * inside).cpu().double()
        return int(tokens[int(torch.multinomial(kept, 1, generator=self._random))])
