package server

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// Auth knows who may come in: the users of an htpasswd file.
type Auth struct {
	// AnonymousRead lets everybody pull.
	AnonymousRead bool
	// Access, if set, decides alone who may do what.
	Access *Access
	users  map[string][]byte // bcrypt hashes

	mu    sync.Mutex // guards known
	known map[[32]byte]bool
}

// dummy is compared with where the user is unknown, so that it takes as long.
var dummy = []byte("$2a$10$7EqJtq98hPqEX7fNZaFWoOhi5sOVqPZ0ySTeOQvJvYB6Q0JzH3a6K")

// ReadHtpasswd reads the lines user:hash of an htpasswd file. Only bcrypt
// hashes (htpasswd -B) are accepted; another is an error that names its line.
func ReadHtpasswd(r io.Reader) (*Auth, error) {
	a := &Auth{users: map[string][]byte{}, known: map[[32]byte]bool{}}
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			return nil, fmt.Errorf("line %d: want user:hash", n)
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			return nil, fmt.Errorf("line %d: the hash of %q is not bcrypt (make it with htpasswd -B)", n, user)
		}
		a.users[user] = []byte(hash)
	}
	return a, sc.Err()
}

// check compares a password. A pair that was right once is remembered by a
// digest of it, because bcrypt is slow on purpose.
func (a *Auth) check(user, password string) bool {
	sum := sha256.Sum256([]byte(user + "\x00" + password))
	a.mu.Lock()
	ok := a.known[sum]
	a.mu.Unlock()
	if ok {
		return true
	}
	hash, found := a.users[user]
	if !found {
		hash = dummy
	}
	right := bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil
	if subtle.ConstantTimeCompare([]byte{b2i(found)}, []byte{1}) != 1 || !right {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) > 1000 {
		clear(a.known)
	}
	a.known[sum] = true
	return true
}

func b2i(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// anonymous tells whether there is something for somebody unknown.
func (a *Auth) anonymous() bool {
	if a.Access != nil {
		return a.Access.open()
	}
	return a.AnonymousRead
}
