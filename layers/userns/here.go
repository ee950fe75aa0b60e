package userns

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// Rung is what a process may do with the owners of files.
type Rung int

// The rungs, the strongest first.
const (
	// Root is root of the machine: all ids, idmapped mounts, trusted attributes.
	Root Rung = iota
	// Mapped is root of a user namespace with several ids.
	Mapped
	// Single is a user who has only the own id, or root of a namespace that has only one.
	Single
)

// Here is the rung of this process. It never changes while the process lives.
func Here() Rung { return here().rung }

// Own is the map with which this process may make a namespace below its own: the caller becomes root inside, and every
// id that the caller's namespace has keeps its number. For root of the machine it is empty.
func Own() Map { return here().own }

// Has says whether a user and a group exist for this process.
func Has(uid, gid int) bool {
	if Here() == Root {
		return true
	}
	_, _, ok := Own().Outside(uint32(uid), uint32(gid))
	return ok
}

type place struct {
	rung Rung
	own  Map
}

var here = sync.OnceValue(func() place {
	if os.Geteuid() != 0 || Powerless() || runtime.GOOS != "linux" { // elsewhere owners live in layers only, also for root
		return place{Single, SingleID()}
	}
	uids, gids := ReadMap("/proc/self/uid_map"), ReadMap("/proc/self/gid_map")
	return placeOf(uids, gids)
})

func placeOf(uids, gids []Range) place {
	total := func(ranges []Range) (n uint64) {
		for _, r := range ranges {
			n += uint64(r.Count)
		}
		return n
	}
	switch n := total(uids); {
	case n == 0, n >= 1<<32-1: // no /proc to look at, or the initial namespace
		return place{rung: Root}
	case n > 1 && total(gids) > 1:
		return place{Mapped, Map{same(uids), same(gids)}}
	}
	return place{Single, Map{[]Range{{0, 0, 1}}, []Range{{0, 0, 1}}}}
}

// same maps what the namespace has to itself.
func same(ranges []Range) []Range {
	var out []Range
	for _, r := range ranges {
		out = append(out, Range{r.Inside, r.Inside, r.Count})
	}
	return out
}

// ReadMap reads a map of a process as the kernel prints it; nil where it cannot.
func ReadMap(path string) []Range {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var out []Range
	for line := range strings.Lines(string(text)) {
		var n [3]uint64
		f := strings.Fields(line)
		for i := range min(len(f), 3) {
			n[i], _ = strconv.ParseUint(f[i], 10, 32)
		}
		out = append(out, Range{uint32(n[0]), uint32(n[1]), uint32(n[2])})
	}
	return out
}
