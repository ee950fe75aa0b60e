//go:build linux

package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

// Root's containers take their ids from here upwards, far above what passwd
// files and subordinate ranges give out, each a range of its own.
const (
	idFirst  = 1 << 30
	idCount  = 1 << 16
	idRanges = 8192
)

// runDir is where the machine's hods agree, until the next boot, on who holds
// which address and which range of ids.
const runDir = "/run/hod"

// leaseIDs takes a range that no living container has. It is held until the
// file is closed, or its holder dies.
func leaseIDs() (base uint32, lease *os.File, err error) {
	dir := filepath.Join(runDir, "ids")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, nil, fmt.Errorf("lease ids: %w", err)
	}
	for n := range idRanges {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(n)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return 0, nil, fmt.Errorf("lease ids: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return uint32(idFirst + n*idCount), f, nil
		}
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return 0, nil, fmt.Errorf("lease ids: %w", err)
		}
	}
	return 0, nil, errors.New("lease ids: every range is in use; stop a container, or use --userns=host")
}

// idMap is the map of a container's user namespace: a range for root's, all that
// the caller has for everybody else's, nothing for root's with --userns=host. Where
// the store's file system can be seen with no other owners, as an overlay in a
// container, root's have the ids that there are, unless --userns=private asks for
// more.
type idMap struct {
	ranges       []layers.IDRange
	gids         []layers.IDRange
	unprivileged bool
	same         bool // files belong inside to whom they belong outside
	lease        *os.File
}

// keep gives the range back: the namespace has the ids that there are, for a
// store whose file system can be seen with no other owners.
func (m *idMap) keep() {
	m.close()
	all := []layers.IDRange{{Count: idCount}}
	*m = idMap{ranges: all, gids: all, same: true}
}

func newIDMap(o *ContainerOptions) (*idMap, error) {
	if rung := userns.Here(); rung != userns.Root {
		own := userns.Own()
		return &idMap{ranges: own.UIDs, gids: own.GIDs, unprivileged: rung == userns.Single, same: true}, nil
	}
	if o.UserNS == "host" || o.UserNS == "" && (o.Privileged || o.Runtime != "" || o.sharesKernel()) {
		return &idMap{}, nil
	}
	if o.UserNS != "" && o.UserNS != "private" {
		return nil, fmt.Errorf("user namespace %q: it is private or host", o.UserNS)
	}
	if o.sharesKernel() {
		return nil, errors.New("conflicting options: --userns private, and --pid or --ipc of others")
	}
	base, lease, err := leaseIDs()
	if err != nil {
		return nil, err
	}
	ranges := []layers.IDRange{{Inside: 0, Outside: base, Count: idCount}}
	return &idMap{ranges: ranges, gids: ranges, lease: lease}, nil
}

func (m *idMap) close() {
	if m.lease != nil {
		m.lease.Close()
	}
}

// outside is the host's id of one inside, or inside itself without a map.
func (m *idMap) outside(id uint32) int {
	for _, r := range m.ranges {
		if id >= r.Inside && id-r.Inside < r.Count {
			return int(r.Outside + id - r.Inside)
		}
	}
	return int(id)
}
