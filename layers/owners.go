package layers

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/opencontainers/go-digest"
)

// A layer whose files all belong to root has the same tree whoever unpacks it. Of any other one a user with a single id
// makes another form, in which all files are the user's own: it lies under a key of its own, so that the tree with the
// right owners can be made beside it when the user gets more ids.

// treeForm is the key under which this process keeps a tree that it makes.
func treeForm(key digest.Digest, x *diff.Index) digest.Digest {
	if userns.Here() == userns.Single && (!x.SelfContained || x.NeedsIDs()) {
		return singleKey(key)
	}
	return key
}

// treeForms are the keys under which this process may find a tree, the best first.
func treeForms(keys ...digest.Digest) []digest.Digest {
	if userns.Here() != userns.Single {
		return keys
	}
	var all []digest.Digest
	for _, k := range keys {
		all = append(all, singleKey(k))
	}
	return append(all, keys...)
}

func singleKey(d digest.Digest) digest.Digest { return digest.FromString("single\n" + string(d)) }

// NeedsIDs says whether files of a chain belong to others than root, have capabilities, or are closed to their owner:
// a user with a single id cannot unpack them as they are.
func (s *Store) NeedsIDs(ctx context.Context, chain Chain) (bool, error) {
	for _, d := range chain {
		x, err := s.Index(ctx, d)
		if err != nil {
			return false, err
		}
		if x.NeedsIDs() {
			return true, nil
		}
	}
	return false, nil
}

// mappedFile marks a store that holds files of subordinate ids: only a process in such a namespace can read and delete
// them all.
const mappedFile = "subordinate"

// HoldsSubordinate says whether the store at root holds files of a user's subordinate ids.
func HoldsSubordinate(root string) bool {
	_, err := os.Lstat(root + "/" + mappedFile)
	return err == nil
}

// markMapped notes that this process may make files of subordinate ids.
func (s *Store) markMapped() error {
	if !userns.Inside() || userns.Here() != userns.Mapped || s.o.ReadOnly {
		return nil
	}
	f, err := os.OpenFile(s.path(mappedFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mark store: %w", err)
	}
	return f.Close()
}
