package plan

import (
	"fmt"
	"strconv"
	"strings"
)

const signalNames = " ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ "

// checkSignal says whether a STOPSIGNAL is the name or number of a signal of Linux.
func checkSignal(s string) error {
	bad := fmt.Errorf("invalid signal: %s", s)
	if n, err := strconv.Atoi(s); err == nil {
		if n == 0 {
			return bad
		}
		return nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if name != "" && strings.Contains(signalNames, " "+name+" ") {
		return nil
	}
	for prefix, limit := range map[string]int{"RTMIN": 15, "RTMAX": 14} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if rest == "" {
			return nil
		}
		sign := map[string]byte{"RTMIN": '+', "RTMAX": '-'}[prefix]
		if n, err := strconv.Atoi(rest[1:]); err == nil && rest[0] == sign && n >= 1 && n <= limit {
			return nil
		}
	}
	return bad
}
