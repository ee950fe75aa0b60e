//go:build linux

package runner

import (
	"strings"
	"testing"
)

// TestRungs holds that nobody is said to run what the machine refuses: root in a
// container has no namespaces either.
func TestRungs(t *testing.T) {
	for _, row := range []struct {
		spaces, root, own, ids bool
		want                   string
	}{
		{false, true, true, true, "no namespaces"}, {false, false, true, true, "no namespaces"},
		{true, true, true, true, "root: containers in a user namespace of their own, a range"},
		{true, true, false, true, "root: containers in a user namespace of their own, with the ids of the machine"},
		{true, false, true, true, "user with subordinate ids:"}, {true, false, true, false, "user with one id:"},
	} {
		if got := rungName(row.spaces, row.root, row.own, row.ids); !strings.HasPrefix(got, row.want) {
			t.Errorf("%+v: %s", row, got)
		}
	}
}
