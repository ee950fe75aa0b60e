package diff

import "strings"

// NeedsIDs says whether a tree of the layer can only be made with several ids: a file belongs to another user than
// root, is closed to its owner, or has attributes that only a namespace's root may set.
func (x *Index) NeedsIDs() bool {
	for _, e := range x.Entries {
		if e.UID != 0 || e.GID != 0 {
			return true
		}
		if (e.IsDir() || e.IsRegular()) && relaxed(*e) != e.Mode && !e.Implied {
			return true
		}
		for name := range e.Xattrs {
			if strings.HasPrefix(name, "security.") {
				return true
			}
		}
	}
	return false
}
