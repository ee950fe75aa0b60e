package hod_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClaims: each line of testdata/claims.tsv names a test that exists, as a
// function or as a script.
func TestClaims(t *testing.T) {
	text, err := os.ReadFile("testdata/claims.tsv")
	if err != nil {
		t.Fatal(err)
	}
	tests := testFunctions(t)
	for i, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 3 {
			t.Errorf("line %d has %d fields: %q", i+1, len(fields), line)
			continue
		}
		for name := range strings.SplitSeq(fields[2], ",") {
			name = name[strings.LastIndex(strings.TrimRight(name, " "), " ")+1:] // "folder TestName" too
			name = strings.TrimSpace(name)
			function, _, _ := strings.Cut(name, "/")
			if strings.HasSuffix(name, ".txtar") {
				if _, err := os.Stat(name); err != nil {
					t.Errorf("line %d: %v", i+1, err)
				}
			} else if !bytes.Contains(tests, []byte("func "+function+"(")) {
				t.Errorf("line %d: there is no test %q", i+1, name)
			}
		}
	}
}

// testFunctions is the text of all test files.
func testFunctions(t *testing.T) []byte {
	var all []byte
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		text, err := os.ReadFile(p)
		all = append(all, text...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
