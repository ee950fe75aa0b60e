package layers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Beside its links, the folder of a server's repository has one small file for
// each tag, each manifest and each referrer: a descriptor as JSON.

// TagRepository lets a repository's tag name a manifest, durably. The manifest
// is linked before, so a tag never names what is not there.
func (s *Store) TagRepository(repo, tag string, desc ocispec.Descriptor) error {
	if !ValidTag(tag) {
		return fmt.Errorf("tag %q of %q: not a tag", tag, repo)
	}
	return s.putRepoFile(repo, "tag-"+tag, desc)
}

// RepositoryTag reads what a tag names, or ErrNotFound.
func (s *Store) RepositoryTag(repo, tag string) (ocispec.Descriptor, error) {
	if !ValidTag(tag) {
		return ocispec.Descriptor{}, ErrNotFound
	}
	return s.repoFile(repo, "tag-"+tag)
}

// UntagRepository removes a tag; ErrNotFound when there is none.
func (s *Store) UntagRepository(repo, tag string) error {
	if !ValidTag(tag) {
		return ErrNotFound
	}
	return s.removeRepoFile(repo, "tag-"+tag)
}

// RepositoryTags lists a repository's tags, sorted by bytes.
func (s *Store) RepositoryTags(ctx context.Context, repo string) ([]string, error) {
	return s.repoNames(repo, "tag-")
}

// PutRepositoryManifest stores a manifest's bytes, links them into the
// repository and remembers their media type; with a subject it becomes a
// referrer of it. All of it is durable when it returns.
func (s *Store) PutRepositoryManifest(ctx context.Context, repo string, desc ocispec.Descriptor, raw []byte, subject digest.Digest) error {
	if err := s.PutManifest(ctx, plain(desc), raw); err != nil {
		return err
	}
	if err := s.LinkBlob(repo, desc.Digest); err != nil {
		return err
	}
	if err := s.putRepoFile(repo, "manifest-"+linkName(desc.Digest), plain(desc)); err != nil {
		return err
	}
	if subject == "" {
		return nil
	}
	if err := validDigest(subject); err != nil {
		return err
	}
	return s.putRepoFile(repo, "referrer-"+linkName(subject)+"-"+linkName(desc.Digest), desc)
}

// RepositoryManifest describes a manifest of a repository, or ErrNotFound.
func (s *Store) RepositoryManifest(repo string, d digest.Digest) (ocispec.Descriptor, error) {
	if validDigest(d) != nil {
		return ocispec.Descriptor{}, ErrNotFound
	}
	return s.repoFile(repo, "manifest-"+linkName(d))
}

// RemoveRepositoryManifest takes a manifest from a repository with its tags;
// ErrNotFound when it has none. Names go before what they name.
func (s *Store) RemoveRepositoryManifest(ctx context.Context, repo string, d digest.Digest, subject digest.Digest) error {
	if _, err := s.RepositoryManifest(repo, d); err != nil {
		return err
	}
	tags, err := s.RepositoryTags(ctx, repo)
	if err != nil {
		return err
	}
	for _, t := range tags {
		if desc, err := s.RepositoryTag(repo, t); err == nil && desc.Digest == d {
			if err := s.UntagRepository(repo, t); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
	}
	if subject != "" && validDigest(subject) == nil {
		err := s.removeRepoFile(repo, "referrer-"+linkName(subject)+"-"+linkName(d))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	if err := s.removeRepoFile(repo, "manifest-"+linkName(d)); err != nil {
		return err
	}
	return s.UnlinkBlob(repo, d)
}

// RepositoryReferrers gives the manifests of a repository whose subject is d, sorted
// by digest, with artifact type and annotations, one by one, until take has enough.
// It begins behind the digest after; empty is the beginning.
func (s *Store) RepositoryReferrers(ctx context.Context, repo string, d, after digest.Digest, take func(ocispec.Descriptor) bool) error {
	if err := validDigest(d); err != nil {
		return err
	}
	prefix, last := "referrer-"+linkName(d)+"-", ""
	if validDigest(after) == nil {
		last = linkName(after)
	}
	names, err := s.repoNames(repo, prefix)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n <= last {
			continue
		}
		desc, err := s.repoFile(repo, prefix+n)
		if errors.Is(err, ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		if !take(desc) {
			return ctx.Err()
		}
	}
	return ctx.Err()
}

func (s *Store) putRepoFile(repo, name string, desc ocispec.Descriptor) error {
	data, err := json.Marshal(desc)
	if err == nil {
		err = s.writeRecord(filepath.Join(s.repoDir(repo), name), data, true)
	}
	if err != nil {
		return fmt.Errorf("write %s of %q: %w", name, repo, err)
	}
	return nil
}

func (s *Store) repoFile(repo, name string) (ocispec.Descriptor, error) {
	var desc ocispec.Descriptor
	data, err := readRecord(filepath.Join(s.repoDir(repo), name))
	if err == nil {
		err = json.Unmarshal(data, &desc)
	}
	if err != nil {
		return desc, fmt.Errorf("read %s of %q: %w", name, repo, err)
	}
	return desc, nil
}

func (s *Store) removeRepoFile(repo, name string) error {
	if err := removeRecord(filepath.Join(s.repoDir(repo), name)); err != nil {
		return fmt.Errorf("remove %s of %q: %w", name, repo, err)
	}
	return nil
}

func (s *Store) repoNames(repo, prefix string) ([]string, error) {
	entries, err := os.ReadDir(s.repoDir(repo))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list %q: %w", repo, err)
	}
	names := []string{}
	for _, e := range entries {
		if n, ok := strings.CutPrefix(e.Name(), prefix); ok {
			names = append(names, n)
		}
	}
	return names, nil
}
