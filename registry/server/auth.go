package server

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"runtime"
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
	dummy  []byte            // the hash of who is not there
	turn   chan struct{}     // who compares a password holds one of few

	mu      sync.Mutex // guards what follows
	known   map[[32]byte]bool
	waiting int // for a turn
}

// maxWaiting bounds the requests whose passwords wait to be compared. A comparison
// takes a processor for long on purpose: strangers must not get all of them.
const maxWaiting = 50

var (
	errWrong = problem(http.StatusUnauthorized, "UNAUTHORIZED", "the user name, the password or the token is wrong")
	errCrowd = problem(http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many passwords wait to be checked")
)

// dummyOf is a hash that is compared with where the user is unknown, so that it
// takes as long.
func dummyOf(cost int) []byte {
	return fmt.Appendf(nil, "$2a$%02d$7EqJtq98hPqEX7fNZaFWoOhi5sOVqPZ0ySTeOQvJvYB6Q0JzH3a6K", cost)
}

// knows tells whether there is such a user.
func (a *Auth) knows(user string) bool {
	_, found := a.users[user]
	return found
}

// ReadHtpasswd reads the lines user:hash of an htpasswd file. Only bcrypt
// hashes (htpasswd -B) are accepted; another is an error that names its line.
func ReadHtpasswd(r io.Reader) (*Auth, error) {
	a := &Auth{users: map[string][]byte{}, known: map[[32]byte]bool{}, turn: make(chan struct{}, max(runtime.NumCPU()/2, 1))}
	costs := bcrypt.MinCost
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
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil {
			return nil, fmt.Errorf("line %d: the hash of %q is not bcrypt (make it with htpasswd -B)", n, user)
		}
		a.users[user] = []byte(hash)
		costs = max(costs, cost)
	}
	a.dummy = dummyOf(costs)
	return a, sc.Err()
}

// check compares a password. A pair that was right once is remembered by a
// digest of it, because bcrypt is slow on purpose.
func (a *Auth) check(ctx context.Context, user, password string) error {
	sum := sha256.Sum256([]byte(user + "\x00" + password))
	a.mu.Lock()
	ok, crowd := a.known[sum], a.waiting >= maxWaiting
	if !ok && !crowd {
		a.waiting++
	}
	a.mu.Unlock()
	switch {
	case ok:
		return nil
	case crowd:
		return errCrowd
	}
	defer func() {
		a.mu.Lock()
		a.waiting--
		a.mu.Unlock()
	}()
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return errCrowd
	}
	if !a.compare(user, password) {
		return errWrong
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) > 1000 {
		clear(a.known)
	}
	a.known[sum] = true
	return nil
}

// compare takes as long for a user that there is not.
func (a *Auth) compare(user, password string) bool {
	hash, found := a.users[user]
	if !found {
		hash = a.dummy
	}
	right := bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil
	return right && found
}

// anonymous tells whether there is something for somebody unknown.
func (a *Auth) anonymous() bool {
	if a.Access != nil {
		return a.Access.open()
	}
	return a.AnonymousRead
}
