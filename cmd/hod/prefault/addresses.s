#include "textflag.h"

DATA ·code(SB)/8, $runtime·text(SB)
GLOBL ·code(SB), RODATA|NOPTR, $8
DATA ·written(SB)/8, $runtime·noptrdata(SB)
GLOBL ·written(SB), RODATA|NOPTR, $8
