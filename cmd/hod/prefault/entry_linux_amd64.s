#include "textflag.h"

// entry is where the kernel enters a hod that was linked with -E: it asks for all
// that is only read, and goes on to the Go runtime's own entry, which then reads
// 1000 interface tables and their types without a fault. There is no stack for Go
// code yet; only registers that the kernel leaves undefined are used.
TEXT ·entry(SB), NOSPLIT|NOFRAME, $0
	MOVQ $runtime·text(SB), DI
	ANDQ $~4095, DI
	MOVQ $runtime·noptrdata(SB), SI
	ANDQ $~4095, SI
	SUBQ DI, SI
	MOVQ $22, DX // MADV_POPULATE_READ
	MOVQ $28, AX // SYS_madvise
	SYSCALL
	MOVB $1, ·entered(SB)
	JMP  _rt0_amd64_linux(SB)
