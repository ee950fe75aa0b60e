package lockfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// A link that is there is written through; a file keeps its old content until the new one is whole.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	say := func(text string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, werr := io.WriteString(w, text)
			return errors.Join(werr, err)
		}
	}
	if err := Replace(link, say("one", nil)); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := Replace(file, say("half", stop)); !errors.Is(err, stop) {
		t.Errorf("error %v, want %v", err, stop)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is %v, %v", st, err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "one" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
		t.Errorf("left in the folder: %v, %v", list, err)
	}
}
