package userns

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers/granted"
	"golang.org/x/sys/unix"
)

func TestSubordinateIDs(t *testing.T) {
	const file = "other:1:5\nme:100000:65536\n1000:300000:10\n\nbroken\nme:7:0\n"
	got, err := parseSubordinate(strings.NewReader(file), "me", 1000)
	if want := []Range{{1, 100000, 65536}, {65537, 300000, 10}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err := parseSubordinate(strings.NewReader(file), "", 5); !errors.Is(err, ErrNoSubordinate) {
		t.Errorf("error %v", err)
	}
	for _, bad := range []string{"me:x:1", "me:1:4294967296", "me:-1:5"} {
		if got, err := parseSubordinate(strings.NewReader(bad), "me", 1000); err == nil {
			t.Errorf("%q is taken for %v", bad, got)
		}
	}
}

func TestMapsAreChecked(t *testing.T) {
	good := []Range{{0, 1000, 1}, {1, 100000, 65536}}
	if err := (Map{good, good}).Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]Range{nil, {{0, 1, 0}}, {{0, 1<<32 - 1, 5}}, {{0, 1, 5}, {4, 100, 5}}, {{0, 100, 5}, {10, 104, 5}}} {
		if err := (Map{bad, good}).Validate(); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
	if u, g, ok := (Map{good, good}).Outside(0, 33); !ok || u != 1000 || g != 100032 {
		t.Errorf("%d:%d %v", u, g, ok)
	}
}

func TestFileIsANewNamespace(t *testing.T) {
	granted.NeedRoot(t, "maps ids that are not its own")
	f, err := File(Shifted(100000, 65536))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var mine, other unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &mine); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fstat(int(f.Fd()), &other); err != nil || other.Ino == mine.Ino {
		t.Errorf("namespace %d, ours is %d: %v", other.Ino, mine.Ino, err)
	}
}
