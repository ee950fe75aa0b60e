#include "textflag.h"

// func cloneIdle(args *cloneArgs, size, parent uintptr) (pid, errno uintptr)
//
// The child ends with its parent's thread and does nothing until it is killed.
TEXT ·cloneIdle(SB), NOSPLIT, $0-40
	MOVQ args+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ parent+16(FP), R12
	MOVQ $435, AX // clone3
	SYSCALL
	TESTQ AX, AX
	JEQ  child
	CMPQ AX, $0xfffffffffffff001
	JLS  started
	NEGQ AX
	MOVQ $0, pid+24(FP)
	MOVQ AX, errno+32(FP)
	RET
started:
	MOVQ AX, pid+24(FP)
	MOVQ $0, errno+32(FP)
	RET
child:
	MOVQ $1, DI // PR_SET_PDEATHSIG
	MOVQ $9, SI // SIGKILL
	MOVQ $157, AX // prctl
	SYSCALL
	MOVQ $110, AX // getppid
	SYSCALL
	CMPQ AX, R12
	JNE  exit
idle:
	MOVQ $34, AX // pause
	SYSCALL
	JMP  idle
exit:
	MOVQ $0, DI
	MOVQ $231, AX // exit_group
	SYSCALL
	JMP  exit
