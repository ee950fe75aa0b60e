package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
)

// LockRepository keeps SweepRepository and deletes, of any process, from a
// repository while a manifest is checked and stored: the blobs that were found stay.
// Who deletes wants to be alone, and waits for those who are at it but for none who
// come later. The caller calls what it gives back; nobody takes it twice at once.
func (s *Store) LockRepository(ctx context.Context, repo string, alone bool) (unlock func() error, err error) {
	if !s.has(s.repoDir(repo)) {
		return func() error { return nil }, nil
	}
	lock, err := s.lockRepository(ctx, repo, alone)
	if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock repository %q: %w", repo, err)
	}
	return lock.Close, nil
}

// lockRepository passes by a second lock, which is held by the one who waits to be
// alone: without it there might always be somebody at it.
func (s *Store) lockRepository(ctx context.Context, repo string, alone bool) (*lockfile.Lock, error) {
	how := (*lockfile.Lock).Shared
	if alone {
		how = (*lockfile.Lock).Exclusive
	}
	turn, err := lockfile.Open(filepath.Join(s.repoDir(repo), "turn"))
	if err != nil {
		return nil, err
	}
	defer turn.Close()
	if err := how(turn, ctx); err != nil {
		return nil, err
	}
	lock, err := lockfile.Open(filepath.Join(s.repoDir(repo), "lock"))
	if err != nil {
		return nil, err
	}
	if err := how(lock, ctx); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// TouchLink tells that a blob of a repository was asked for, perhaps by somebody
// who is about to push a manifest that names it.
func (s *Store) TouchLink(repo string, d digest.Digest) {
	now := s.o.Now()
	_ = os.Chtimes(filepath.Join(s.repoDir(repo), linkName(d)), now, now) // it may be gone
}

// SweepRepository takes out of a repository the blobs that none of its manifests
// names and that were linked or asked for longer ago than the grace. Their bytes
// go with the next collection.
func (s *Store) SweepRepository(ctx context.Context, repo string, grace time.Duration) error {
	unlock, err := s.LockRepository(ctx, repo, true)
	if err != nil {
		return err
	}
	err = s.sweepRepository(ctx, repo, grace)
	if err != nil {
		err = fmt.Errorf("sweep repository %q: %w", repo, err)
	}
	return errors.Join(err, unlock())
}

func (s *Store) sweepRepository(ctx context.Context, repo string, grace time.Duration) error {
	named, err := s.namedIn(ctx, repo)
	if err != nil {
		return err
	}
	links, err := s.Links(repo)
	if err != nil {
		return err
	}
	for _, d := range links {
		age, err := s.age(filepath.Join(s.repoDir(repo), linkName(d)))
		if err != nil || named[d] || age < grace {
			continue
		}
		if err := s.UnlinkBlob(repo, d); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// namedIn lists the manifests of a repository and what they name. One that cannot
// be read stops the sweep: nobody knows what it needs.
func (s *Store) namedIn(ctx context.Context, repo string) (map[digest.Digest]bool, error) {
	named := map[digest.Digest]bool{}
	names, err := s.repoNames(repo, "manifest-")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		alg, hex, _ := strings.Cut(n, "-")
		d := digest.Digest(alg + ":" + hex)
		raw, err := s.ReadManifest(d)
		if err != nil {
			return nil, err
		}
		m, err := ParseManifest("", raw)
		if err != nil {
			return nil, err
		}
		named[d], named[m.Config.Digest] = true, true
		for _, b := range append(m.Layers, m.Manifests...) {
			named[b.Digest] = true
		}
	}
	return named, nil
}
