#include "textflag.h"

// func cloneShared(args *cloneArgs, size uintptr) (pid, errno uintptr)
//
// The child wakes on the stack that args names, where perform's three arguments
// lie already. It has no goroutine of its own and never returns.
TEXT ·cloneShared(SB), NOSPLIT, $0-32
	MOVQ args+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ $435, AX // clone3
	SYSCALL
	TESTQ AX, AX
	JEQ  child
	CMPQ AX, $0xfffffffffffff001
	JLS  parent
	NEGQ AX
	MOVQ $0, pid+16(FP)
	MOVQ AX, errno+24(FP)
	RET
parent:
	MOVQ AX, pid+16(FP)
	MOVQ $0, errno+24(FP)
	RET
child:
	CALL ·perform(SB)
exit:
	MOVQ $127, DI
	MOVQ $231, AX // exit_group
	SYSCALL
	JMP  exit
