package ops

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hodbuild/hod/builder/source"
)

// TestContextChanges changes a file between the plan of a layer, from which keys are made, and its packing: what keys do
// not speak of is never packed.
func TestContextChanges(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"truncated": func(f string) error { return os.Truncate(f, 2) },
		"grown":     func(f string) error { return os.WriteFile(f, []byte("longer than before"), 0o644) },
		"rewritten": func(f string) error { return os.WriteFile(f, []byte("AFTER."), 0o644) },
		"replaced": func(f string) error {
			return errors.Join(os.WriteFile(f+".new", []byte("AFTER."), 0o644), os.Rename(f+".new", f))
		},
		"a folder": func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "file")
			if err := os.WriteFile(file, []byte("before"), 0o644); err != nil {
				t.Fatal(err)
			}
			folder, err := source.OpenFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer folder.Close()
			c := Copy{Sources: []Source{{Files: folder, Path: "file", Local: true}}, Dest: "/"}
			l, err := c.Plan(t.Context(), source.NewTree(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := l.Write(t.Context(), TarWriter{Tar: tar.NewWriter(io.Discard)}); err != nil {
				t.Fatalf("unchanged: %v", err)
			}
			if err := change(file); err != nil {
				t.Fatal(err)
			}
			if err := l.Write(t.Context(), TarWriter{Tar: tar.NewWriter(io.Discard)}); err == nil {
				t.Fatal("it was packed")
			}
		})
	}
}

// TestHashIsInterrupted holds that a large file is not read to its end when nobody waits any more.
func TestHashIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "large")
	if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Truncate(file, 1<<40)); err != nil {
		t.Fatal(err)
	}
	folder, err := source.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e, err := folder.Lstat("large")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Digest(ctx, folder, e); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
