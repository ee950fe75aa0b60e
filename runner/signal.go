//go:build linux

package runner

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ParseSignal reads a signal as docker does: a name with or without SIG, in any
// case, RTMIN+n and RTMAX-n, or a number.
func ParseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > 64 {
			return 0, fmt.Errorf("invalid signal: %s", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig := unix.SignalNum("SIG" + name); sig != 0 {
		return sig, nil
	}
	base, n := 0, 0
	switch {
	case strings.HasPrefix(name, "RTMIN"):
		base, name = 34, name[5:]
	case strings.HasPrefix(name, "RTMAX"):
		base, name = 64, name[5:]
	default:
		return 0, fmt.Errorf("invalid signal: %s", s)
	}
	if name != "" {
		var err error
		if n, err = strconv.Atoi(name); err != nil {
			return 0, fmt.Errorf("invalid signal: %s", s)
		}
	}
	if base+n < 34 || base+n > 64 {
		return 0, fmt.Errorf("invalid signal: %s", s)
	}
	return unix.Signal(base + n), nil
}
