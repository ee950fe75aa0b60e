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
		spaces, root, ids bool
		want              string
	}{
		{false, true, true, "no namespaces"}, {false, false, true, "no namespaces"},
		{true, true, true, "root"}, {true, false, true, "user with subordinate ids"}, {true, false, false, "user with one id"},
	} {
		if got := rungName(row.spaces, row.root, row.ids); !strings.HasPrefix(got, row.want+":") {
			t.Errorf("%+v: %s", row, got)
		}
	}
}
