"""medlora as a Hugging Face Space: an honest demo for anybody, or the whole app behind the Hub's login.

Why a room above the page: on ZeroGPU the model must run in the web process, and only this room may import
both.
"""
