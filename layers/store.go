package layers

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// formatVersion is the content of the version file of stores that we write.
const formatVersion = "1\n"

var (
	// ErrNotFound says that the store does not have the thing.
	ErrNotFound = errors.New("not found")
	// ErrAmbiguous says that an ID prefix fits more than one image.
	ErrAmbiguous = errors.New("is ambiguous")
	// ErrDamaged says that a record of the store cannot be read: Check tells more.
	ErrDamaged = errors.New("it is damaged")
	// ErrBusy says that another process holds the thing.
	ErrBusy = errors.New("is in use by another process")
)

// DigestError says that bytes are not what their name promises.
type DigestError struct{ Want, Got digest.Digest }

func (e *DigestError) Error() string {
	return fmt.Sprintf("content has digest %s, want %s", e.Got, e.Want)
}

// Options of a store.
type Options struct {
	ReadOnly bool // write nothing at all, leases included
	// Look is for commands that look and are soon done: where the disk is too full for a lease, they hold up collection
	// instead, and what they make for others to find (a compressed form, a manifest) they make for themselves alone.
	Look bool
	Now  func() time.Time // time.Now if nil
	// HoldFor ends the claims of this store's own lease after a while. Zero
	// keeps them until Close, as commands want it; a server sets it.
	HoldFor time.Duration
	// BootID names this boot; empty asks the kernel.
	BootID string
}

// Store is a folder of layers and images. It is safe for concurrent use, by any
// number of processes.
type Store struct {
	root   string
	o      Options
	bootID func() (string, error) // once

	indexes indexCache

	mu     sync.Mutex     // guards what follows
	lease  *Lease         // of this Store; made when it is first needed
	all    *lockfile.Lock // the store's lock, shared, where a lease could not be made
	unkept []unkept       // what a full disk could not take
}

// DefaultRoot is where hod keeps things: $HOD_ROOT, else /var/lib/hod for root,
// else $XDG_DATA_HOME/hod.
func DefaultRoot() string {
	if dir := os.Getenv("HOD_ROOT"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/hod"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "hod")
	}
	return filepath.Join(os.Getenv("HOME"), ".local/share/hod")
}

// kinds are the folders of the root, made when the store is made.
var kinds = []string{
	"blobs/sha256", "blobs/sha384", "blobs/sha512", "layers/sha256", "trees/sha256",
	"images/refs", "images/ids", "repos", "cache", "mounts", "containers", "volumes",
	"uploads", "partial", "leases", "tmp", "trash", "boot",
}

// Open opens the store at root and makes it where there is none. It costs a few
// system calls and reads no folder. A store of an unknown format is refused.
func Open(root string, o Options) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{root: root, o: o}
	s.bootID = sync.OnceValues(s.readBootID)
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open store %q: %w", root, err)
	}
	return s, nil
}

func (s *Store) open() error {
	version, err := os.ReadFile(s.path("version"))
	if errors.Is(err, fs.ErrNotExist) && !s.o.ReadOnly {
		return errors.Join(s.create(), s.markMapped())
	}
	if err != nil {
		return err
	}
	if err := s.markMapped(); err != nil {
		return err
	}
	if string(version) != formatVersion {
		return fmt.Errorf("its format is %.20q and this hod knows only %q", bytes.TrimSpace(version), strings.TrimSpace(formatVersion))
	}
	return s.protect()
}

// protect takes the store from other users: they would find setuid programs of
// images in it (CVE-2021-41103).
func (s *Store) protect() error {
	var st unix.Stat_t
	if err := unix.Stat(s.root, &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() && os.Geteuid() != 0 {
		return fmt.Errorf("it belongs to user %d", st.Uid)
	}
	if st.Mode&0o077 == 0 || s.o.ReadOnly {
		return nil
	}
	return os.Chmod(s.root, 0o700)
}

// create makes the folders, and the version file last: a store without one is
// unfinished, and the next Open finishes it.
func (s *Store) create() error {
	if err := os.MkdirAll(s.root, 0o700); err != nil {
		return err
	}
	if err := s.refuseForeign(); err != nil {
		if s.has(s.path("version")) { // another process was faster
			return s.open()
		}
		return err
	}
	if err := s.protect(); err != nil {
		return err
	}
	for _, k := range kinds {
		if err := os.MkdirAll(s.path(k), 0o700); err != nil {
			return err
		}
	}
	lock, err := lockfile.Open(s.path("lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	for _, dir := range []string{"blobs", "layers", "trees", "images"} {
		if err := lockfile.SyncDir(s.path(dir)); err != nil {
			return err
		}
	}
	return lockfile.AtomicWrite(s.path("version"), []byte(formatVersion), 0o600, true)
}

// refuseForeign keeps a mistyped --root from filling somebody's folder.
func (s *Store) refuseForeign() error {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		known := e.Name() == "lock" || e.Name() == "lost+found" || lockfile.IsTemp(e.Name())
		for _, k := range kinds {
			known = known || e.Name() == strings.Split(k, "/")[0]
		}
		if !known {
			return fmt.Errorf("the folder is not a store and is not empty (it has %q)", e.Name())
		}
	}
	return nil
}

// Root is the folder of the store.
func (s *Store) Root() string { return s.root }

// Dir is the folder of a kind whose owner lays out what is inside: "containers"
// or "volumes".
func (s *Store) Dir(kind string) string { return s.path(kind) }

// Close ends this store's claims.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.lease != nil {
		err = s.lease.Close()
	}
	if s.all != nil {
		err = errors.Join(err, s.all.Close())
	}
	s.lease, s.all = nil, nil
	return err
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.root}, parts...)...)
}

func (s *Store) readBootID() (string, error) {
	if s.o.BootID != "" {
		return s.o.BootID, nil
	}
	b, err := bootID()
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	id := strings.TrimSpace(b)
	if id == "" || strings.ContainsAny(id, "/.") {
		return "", fmt.Errorf("read boot id: %q is none", id)
	}
	return id, nil
}
