//go:build linux

package runner

import (
	"math"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/userns"
)

// Ids above idCount have no range of their own for each command: images that
// use them (OpenShift's users, those of a directory service) share one.
const (
	idHighFirst = 1 << 31
	idHighCount = 1 << 30
)

// IDs takes a range for a command of a build, as root; any other user's command
// gets a namespace of that user's (see Exec). Close gives it back.
func (r *Runner) IDs() (*IDs, error) {
	if userns.Here() != userns.Root {
		return &IDs{}, nil
	}
	base, lease, err := leaseIDs()
	if err != nil {
		return nil, err
	}
	ranges := []layers.IDRange{
		{Inside: 0, Outside: base, Count: idCount},
		{Inside: idCount, Outside: idHighFirst, Count: idHighCount},
	}
	return &IDs{UIDs: ranges, GIDs: ranges, lease: lease}, nil
}

// Keep gives the range back: the namespace has the ids that there are, for a store
// whose file system can be seen with no other owners.
func (i *IDs) Keep() {
	i.Close()
	all := []layers.IDRange{{Count: math.MaxUint32}}
	*i = IDs{UIDs: all, GIDs: all, Same: true}
}

// Owner is who a user and a group of the command are outside.
func (i *IDs) Owner(uid, gid uint32) (int, int) {
	m := idMap{ranges: i.UIDs}
	g := idMap{ranges: i.GIDs}
	return m.outside(uid), g.outside(gid)
}
