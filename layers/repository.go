package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
)

// A link says that a server's repository may show a blob; it keeps the blob.
// It is an empty file repos/<digest of the name>/<alg>-<hex>, and the folder has
// the repository's name in a file "name".

func (s *Store) repoDir(repo string) string {
	return s.path("repos", digest.Canonical.FromString(repo).Encoded())
}

func linkName(d digest.Digest) string { return string(d.Algorithm()) + "-" + d.Encoded() }

// LinkBlob lets a repository show a blob that is in the store, durably.
func (s *Store) LinkBlob(repo string, d digest.Digest) error {
	if err := s.linkBlob(repo, d); err != nil {
		return fmt.Errorf("link blob %s into %q: %w", d, repo, err)
	}
	return nil
}

func (s *Store) linkBlob(repo string, d digest.Digest) error {
	if !ValidRepository(repo) {
		return fmt.Errorf("that is not a repository name")
	}
	if err := s.hold(d); err != nil {
		return err
	}
	if err := s.keepBlob(d); err != nil {
		return err
	}
	dir := s.repoDir(repo)
	if !s.has(filepath.Join(dir, "name")) {
		if err := s.writeRecord(filepath.Join(dir, "name"), []byte(repo), true); err != nil {
			return err
		}
	}
	return s.writeRecord(filepath.Join(dir, linkName(d)), nil, true)
}

// UnlinkBlob takes a blob from a repository; ErrNotFound when it has none.
func (s *Store) UnlinkBlob(repo string, d digest.Digest) error {
	err := validDigest(d)
	if err == nil {
		err = removeRecord(filepath.Join(s.repoDir(repo), linkName(d)))
	}
	if err != nil {
		return fmt.Errorf("unlink blob %s from %q: %w", d, repo, err)
	}
	return nil
}

// HasLink tells whether a repository may show a blob.
func (s *Store) HasLink(repo string, d digest.Digest) bool {
	return validDigest(d) == nil && s.has(filepath.Join(s.repoDir(repo), linkName(d)))
}

// Links lists the blobs that a repository may show, sorted.
func (s *Store) Links(repo string) ([]digest.Digest, error) {
	entries, err := os.ReadDir(s.repoDir(repo))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list blobs of %q: %w", repo, err)
	}
	var ds []digest.Digest
	for _, e := range entries {
		alg, hex, _ := strings.Cut(e.Name(), "-")
		if d := digest.Digest(alg + ":" + hex); validDigest(d) == nil {
			ds = append(ds, d)
		}
	}
	return ds, nil
}

// Repositories lists the repositories that have links, sorted.
func (s *Store) Repositories(ctx context.Context) ([]string, error) {
	entries, err := os.ReadDir(s.path("repos"))
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	var repos []string
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name, err := readRecord(s.path("repos", e.Name(), "name"))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list repositories: %w", err)
		}
		repos = append(repos, string(name))
	}
	slices.Sort(repos)
	return repos, nil
}

// RemoveRepository takes all blobs from a repository and forgets it.
func (s *Store) RemoveRepository(repo string) error {
	if err := s.throw(s.repoDir(repo)); err != nil {
		return fmt.Errorf("remove repository %q: %w", repo, err)
	}
	return lockfile.SyncDir(s.path("repos"))
}
