// Package userns knows how ids inside a user namespace correspond to those outside, and makes namespaces and trees that
// follow such a map.
//
// What a process may do with the owners of files is one of three things (see [Here]). Root of the machine may do
// everything, and shows trees with other owners through idmapped mounts. Everybody else is root only inside of a user
// namespace: with a single id, the user's own, or with subordinate ids beside it, which the administrator gave the user
// in /etc/subuid and /etc/subgid and which only newuidmap and newgidmap may write into a map.
//
// Files of subordinate ids cannot be read, changed or deleted from outside of such a namespace. So hod is started once
// more inside of one ([Enter]), for a whole command: there it is root over its ids, unpacks, mounts, packs and deletes
// as root does, and the namespaces of containers are made below it without a helper. Processes that must look like the
// user again (ssh, credential helpers) are started with [AsUser].
package userns

import (
	"errors"
	"fmt"
	"os"
)

// Range is a run of ids.
type Range struct{ Inside, Outside, Count uint32 }

// Map is how users and groups inside a namespace correspond to those outside.
type Map struct{ UIDs, GIDs []Range }

// Shifted maps the first count ids inside to those from base on.
func Shifted(base, count uint32) Map {
	r := []Range{{0, base, count}}
	return Map{UIDs: r, GIDs: r}
}

// SingleID maps root inside to the caller, and nobody else.
func SingleID() Map {
	return Map{
		UIDs: []Range{{0, uint32(os.Geteuid()), 1}}, GIDs: []Range{{0, uint32(os.Getegid()), 1}},
	}
}

// Single says whether only one user exists inside.
func (m Map) Single() bool { return len(m.UIDs) == 1 && m.UIDs[0].Count == 1 }

// Outside gives the ids outside for a user and a group inside.
func (m Map) Outside(uid, gid uint32) (u, g uint32, ok bool) {
	u, uok := outside(m.UIDs, uid)
	g, gok := outside(m.GIDs, gid)
	return u, g, uok && gok
}

func outside(ranges []Range, id uint32) (uint32, bool) {
	for _, r := range ranges {
		if id >= r.Inside && id-r.Inside < r.Count {
			return r.Outside + (id - r.Inside), true
		}
	}
	return 0, false
}

// Validate tells what is wrong with a map: empty, overflowing or overlapping ranges.
func (m Map) Validate() error {
	for _, ranges := range [][]Range{m.UIDs, m.GIDs} {
		if len(ranges) == 0 || len(ranges) > 340 {
			return errors.New("id map: from 1 to 340 ranges are possible")
		}
		for i, r := range ranges {
			if r.Count == 0 || uint64(r.Inside)+uint64(r.Count) > 1<<32-1 || uint64(r.Outside)+uint64(r.Count) > 1<<32-1 {
				return fmt.Errorf("id map: range %d:%d:%d is empty or too long", r.Inside, r.Outside, r.Count)
			}
			for _, q := range ranges[:i] {
				if r.Inside < q.Inside+q.Count && q.Inside < r.Inside+r.Count ||
					r.Outside < q.Outside+q.Count && q.Outside < r.Outside+r.Count {
					return fmt.Errorf("id map: ranges %v and %v overlap", q, r)
				}
			}
		}
	}
	return nil
}
