package layers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestUploadHashesWhatCame checks that the digest of an upload goes on from request
// to request, and that it is not believed after another boot, when the bytes may
// have been lost.
func TestUploadHashesWhatCame(t *testing.T) {
	ctx, want := context.Background(), digest.FromString("hello world")
	half := func(root string) string {
		s, err := Open(root, Options{BootID: "one"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		u, err := s.NewUpload("app")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Append(ctx, 0, strings.NewReader("hello ")); err != nil {
			t.Fatal(err)
		}
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}
		return u.ID
	}
	for _, c := range []struct {
		name, boot string
		spoil      string // what becomes of the first half
		wants      bool   // that the blob is taken
	}{
		{"same boot", "one", "hello ", true},
		{"another boot", "two", "hello ", true},
		{"another boot, zeros", "two", "\x00\x00\x00\x00\x00\x00", false},
		{"same boot, more bytes than were hashed", "one", "hello w", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			id := half(root)
			if err := os.WriteFile(filepath.Join(root, "uploads", id, "data"), []byte(c.spoil), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(root, Options{BootID: c.boot})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			u, err := s.OpenUpload("app", id)
			if err != nil {
				t.Fatal(err)
			}
			defer u.Close()
			if goesOn := u.sum != nil; goesOn != (c.boot == "one") {
				t.Errorf("the digest goes on: %v", goesOn)
			}
			if _, err := u.Append(ctx, -1, strings.NewReader("world")); err != nil {
				t.Fatal(err)
			}
			_, err = u.Commit(ctx, want)
			var mismatch *DigestError
			if c.wants != (err == nil) || err != nil && !errors.As(err, &mismatch) {
				t.Errorf("commit: %v", err)
			}
			if s.HasLink("app", want) != c.wants {
				t.Error("the link is wrong")
			}
		})
	}
}
