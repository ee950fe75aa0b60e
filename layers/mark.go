package layers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
)

// marks is what can be reached, each object with who reaches it. It is only a
// list: collection sweeps by it, usage counts by it and hod why prints it.
type marks struct {
	s  *Store
	by map[digest.Digest][]string // an object's keepers: "name x", "container y", or a digest
}

func newMarks(s *Store) *marks { return &marks{s, map[digest.Digest][]string{}} }

// add notes a keeper and tells whether the object is new.
func (m *marks) add(d digest.Digest, by string) bool {
	keepers, known := m.by[d]
	for _, k := range keepers {
		if k == by {
			return false
		}
	}
	m.by[d] = append(keepers, by)
	return !known
}

// reach marks an object, whatever it is, and all that it needs.
func (m *marks) reach(d digest.Digest, by string) error {
	if validDigest(d) != nil || !m.add(d, by) {
		return nil
	}
	if m.s.has(m.s.imagePath(d)) {
		if err := m.reachImage(d); err != nil {
			return err
		}
	}
	if _, _, err := m.s.find("layers", d); err == nil {
		return m.reachLayer(d)
	}
	return m.reachManifest(d)
}

// reachImage marks chain and manifest. A config that cannot be read keeps
// nothing: fsck tells of it.
func (m *marks) reachImage(id digest.Digest) error {
	raw, err := m.s.peek(id)
	if err == nil {
		_, chain, perr := parseConfig(raw)
		for i, below := range chain.ids() {
			if err := m.reach(chain[i], string(id)); err != nil {
				return err
			}
			for _, key := range treeForms(chain[i], treeKey(below)) {
				m.add(key, string(id))
			}
		}
		err = perr
	}
	if rec, rerr := m.s.readImageRecord(id); rerr == nil {
		if rec.Manifest != nil {
			return m.reach(rec.Manifest.Digest, string(id))
		}
	}
	return passable(err)
}

// reachLayer marks the blobs that a layer from elsewhere came as. What our
// packer made can be compressed again, as long as it is there in another form.
func (m *marks) reachLayer(d digest.Digest) error {
	forms, err := m.s.forms(d)
	if err != nil {
		return passable(err)
	}
	other := m.s.remakeable(d) || m.s.hasTree(d)
	for _, f := range forms {
		if f.Compressor == "" || !other {
			m.add(f.Descriptor.Digest, string(d))
		}
	}
	return nil
}

// reachManifest marks what a blob names if it is a manifest or index.
func (m *marks) reachManifest(d digest.Digest) error {
	raw, err := m.s.peek(d)
	if err != nil || len(raw) == 0 || raw[0] != '{' && raw[0] != ' ' && raw[0] != '\n' {
		return passable(err)
	}
	doc, err := ParseManifest("", raw)
	if err != nil {
		return nil // some other JSON
	}
	for _, c := range append(append(doc.Manifests, doc.Layers...), doc.Config) {
		if err := m.reach(c.Digest, string(d)); err != nil {
			return err
		}
	}
	return nil
}

// passable lets marking go on over what is missing or damaged, and stop on
// errors after which 'unmarked' would not mean 'unused'.
func passable(err error) error {
	var bad *DigestError
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) || errors.As(err, &bad) || errors.As(err, &syntax) || errors.As(err, &kind) {
		return nil
	}
	return err
}

// peek reads a small blob without holding it: marking must not claim.
func (s *Store) peek(d digest.Digest) ([]byte, error) {
	path, st, err := s.find("blobs", d)
	if err != nil || st.Size > MaxManifest {
		return nil, err
	}
	b, err := readRecord(path)
	if err == nil && d.Algorithm().FromBytes(b) != d {
		return nil, &DigestError{Want: d, Got: d.Algorithm().FromBytes(b)}
	}
	return b, err
}

func (s *Store) readImageRecord(id digest.Digest) (imageRecord, error) {
	var rec imageRecord
	raw, err := readRecord(s.imagePath(id))
	if err == nil {
		err = json.Unmarshal(raw, &rec)
	}
	return rec, err
}

// referenced marks from names; keep chooses which names count.
func (m *marks) referenced(ctx context.Context, keep func(Reference) bool) error {
	refs, err := m.s.References(ctx)
	if err != nil {
		return err
	}
	for _, r := range refs {
		if keep != nil && !keep(r) {
			continue
		}
		if err := m.reach(r.Target.Digest, "name "+r.Name); err != nil {
			return err
		}
	}
	return nil
}

// contained marks from the files containers/*/roots.json, lists of digests.
func (m *marks) contained() error {
	files, err := filepath.Glob(m.s.path("containers", "*", "roots.json"))
	if err != nil {
		return err
	}
	for _, f := range files {
		raw, err := readRecord(f)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		var roots []digest.Digest
		if err == nil {
			err = json.Unmarshal(raw, &roots)
		}
		if err != nil {
			return fmt.Errorf("read %q: %w", f, err)
		}
		for _, d := range roots {
			if err := m.reach(d, "container "+filepath.Base(filepath.Dir(f))); err != nil {
				return err
			}
		}
	}
	return nil
}

// linked marks from the server's repositories.
func (m *marks) linked(ctx context.Context) error {
	repos, err := m.s.Repositories(ctx)
	if err != nil {
		return err
	}
	for _, repo := range repos {
		ds, err := m.s.Links(repo)
		if err != nil {
			return err
		}
		for _, d := range ds {
			if err := m.reach(d, "repository "+repo); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed marks from all images, named or not.
func (m *marks) listed() error {
	entries, err := os.ReadDir(m.s.path("images/ids"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		d := digest.NewDigestFromEncoded(digest.Canonical, e.Name())
		if err := m.reach(d, "image "+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// recorded marks from cache records.
func (m *marks) recorded(records []cacheFile) error {
	for _, r := range records {
		for _, d := range r.refs {
			if err := m.reach(d, "cache "+r.name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// leaseFile is one lease as a collection sees it.
type leaseFile struct {
	id, what string
	live     bool
	held     []digest.Digest
}

// leases reads the lease files. A claim that is only good for a while must have been
// good at the time asOf, in seconds since the boot. The caller holds the store's lock
// if it is to act on what they say.
func (s *Store) leases(asOf int64) ([]leaseFile, error) {
	entries, err := os.ReadDir(s.path("leases"))
	if err != nil {
		return nil, err
	}
	var all []leaseFile
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		l, err := s.readLease(e.Name(), asOf)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func (s *Store) readLease(id string, asOf int64) (leaseFile, error) {
	l := leaseFile{id: id}
	f, err := os.OpenFile(s.path("leases", id), os.O_RDWR, 0)
	if err != nil {
		return l, err
	}
	lock := lockfile.FromFile(f)
	defer lock.Close()
	if err := lock.TryShared(); errors.Is(err, lockfile.ErrHeld) {
		l.live = true
	} else if err != nil {
		return l, err
	}
	var holdFor int64
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		first, rest, _ := strings.Cut(lines.Text(), " ")
		if first == "#" {
			pid, rest, _ := strings.Cut(rest, " ")
			secs, what, _ := strings.Cut(rest, " ")
			holdFor, _ = strconv.ParseInt(secs, 10, 64)
			l.what = "process " + pid + " " + what
			continue
		}
		at, _ := strconv.ParseInt(first, 10, 64)
		if d := digest.Digest(rest); validDigest(d) == nil && (holdFor == 0 || asOf-at <= holdFor) {
			l.held = append(l.held, d)
		}
	}
	return l, lines.Err()
}

// treeKey names the tree of a layer that depends on the chain below it, by the
// ID of the chain up to it.
func treeKey(id digest.Digest) digest.Digest {
	return digest.Canonical.FromString("tree on chain " + string(id))
}
