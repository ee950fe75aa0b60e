package ops

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers/diff/eviltar"
)

// ADD of the corpus of evil archives: refused or contained, the harmless twins are taken. Whiteouts and the marks of
// overlays mean nothing in an archive that is added, so those rows may go either way; nothing
// is written through a link of the archive itself, harmless or not.
func TestAddEvilArchives(t *testing.T) {
	outside := t.TempDir()
	canary := filepath.Join(outside, "canary")
	if err := os.WriteFile(canary, []byte("alive"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(outside)
	free := map[string]bool{"U6": true, "U7": true, "U8": true}
	for _, c := range eviltar.Cases(outside) {
		files := source.NewFile("x", 0o644, time.Now(), c.Tar)
		got, err := perform(t, Copy{Sources: []Source{{Files: files, Path: "x", Unpack: true}}, Dest: "/d/"}, source.NewTree())
		if strings.Contains(got, " x\n") && c.Refuse { // not taken for an archive: copied as the file that it is
			continue
		}
		if !free[c.Row] && (c.Refuse && err == nil && strings.Contains(got, "/") && !copied(got) || c.Want != nil && err != nil && c.Row != "U2") {
			t.Errorf("%s, %s: error %v, want one: %t; %q", c.Row, c.Name, err, c.Refuse, got)
		}
		if strings.Contains(got, "/../") || strings.Contains(got, " ../") && !strings.Contains(got, "-> ../") {
			t.Errorf("%s, %s leaves the folder: %s", c.Row, c.Name, got)
		}
	}
	if text, err := os.ReadFile(canary); err != nil || string(text) != "alive" {
		t.Errorf("the canary is %q: %v", text, err)
	}
	if list, _ := os.ReadDir(outside); len(list) != 1 {
		t.Errorf("files appeared outside: %v", list)
	}
}

// copied says whether what looked like no archive was copied whole.
func copied(got string) bool { return strings.Contains(got, " d/x = ") }
