"""How the miniature's weights are made, one module a stage; `irgen.miniature.pretrain` runs them."""
