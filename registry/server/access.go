package server

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
)

// right is what a request needs.
type right string

const (
	free       right = ""       // nothing
	pull       right = "pull"   // read a repository
	push       right = "push"   // write into it
	deletes    right = "delete" // take something out of it
	list       right = "list"   // see which repositories there are
	authorized right = "user"   // be anybody who is known
)

// rights says for each kind of endpoint and method what it needs. What is not
// listed is refused: a new endpoint is closed until somebody decides.
var rights = map[string]map[string]right{
	"base":      {"GET": authorized, "HEAD": authorized},
	"token":     {"GET": free, "HEAD": free},
	"metrics":   {"GET": authorized, "HEAD": authorized},
	"catalog":   {"GET": list, "HEAD": list},
	"tags":      {"GET": pull, "HEAD": pull},
	"manifest":  {"GET": pull, "HEAD": pull, "PUT": push, "DELETE": deletes},
	"blob":      {"GET": pull, "HEAD": pull, "DELETE": deletes},
	"uploads":   {"POST": push},
	"upload":    {"GET": push, "PATCH": push, "PUT": push, "DELETE": push},
	"referrers": {"GET": pull, "HEAD": pull},
}

// Access says who may do what with which repositories: rules of which one must
// allow it.
type Access struct{ rules []rule }

type rule struct {
	pattern []string // of the repository, by parts
	who     string   // a user, "+" every user, "*" everybody
	rights  []right
}

// ReadAccess reads rules, one a line:
//
//	# REPOSITORY  WHO  RIGHTS
//	public/**     *      pull
//	team/*        +      pull
//	team/*        alice  pull,push,delete
//
// In a repository's name * stands for one part of a path and ** for any number
// of them. WHO is a user of the htpasswd file, + for all of them, or * for
// everybody. What no rule allows is refused.
func ReadAccess(r io.Reader) (*Access, error) {
	a := &Access{}
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line, _, _ := strings.Cut(sc.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 3 {
			return nil, fmt.Errorf("line %d: want REPOSITORY WHO RIGHTS", n)
		}
		next := rule{pattern: strings.Split(words[0], "/"), who: words[1]}
		for _, part := range next.pattern {
			if _, err := path.Match(part, ""); err != nil || part == "" {
				return nil, fmt.Errorf("line %d: %q is not a pattern", n, words[0])
			}
		}
		for w := range strings.SplitSeq(words[2], ",") {
			if r := right(w); r != pull && r != push && r != deletes {
				return nil, fmt.Errorf("line %d: %q is none of pull, push and delete", n, w)
			}
			next.rights = append(next.rights, right(w))
		}
		a.rules = append(a.rules, next)
	}
	return a, sc.Err()
}

// Allows tells whether a user, empty if unknown, has a right.
func (a *Access) Allows(user, repo string, r right) bool {
	parts := strings.Split(repo, "/")
	return slices.ContainsFunc(a.rules, func(u rule) bool {
		known := u.who == "*" || user != "" && (u.who == "+" || u.who == user)
		return known && slices.Contains(u.rights, r) && fits(u.pattern, parts)
	})
}

// open tells whether some rule is for everybody.
func (a *Access) open() bool {
	return slices.ContainsFunc(a.rules, func(u rule) bool { return u.who == "*" })
}

// fits matches a name's parts with a pattern's.
func fits(pattern, parts []string) bool {
	switch {
	case len(pattern) == 0:
		return len(parts) == 0
	case pattern[0] == "**":
		for i := 0; i <= len(parts); i++ {
			if fits(pattern[1:], parts[i:]) {
				return true
			}
		}
		return false
	case len(parts) == 0:
		return false
	}
	ok, err := path.Match(pattern[0], parts[0])
	return err == nil && ok && fits(pattern[1:], parts[1:])
}

// admit lets a request in or answers why not.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, kind, repo string) (user string, err error) {
	need, known := rights[kind][r.Method]
	if !known {
		w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(rights[kind])), ", "))
		return "", problem(http.StatusMethodNotAllowed, "UNSUPPORTED", "the method is not allowed here")
	}
	if s.auth() == nil || need == free {
		return "", nil
	}
	user, shown, err := s.who(r)
	switch {
	case err != nil:
		s.challenge(w, r, kind, repo)
		return "", err
	case s.may(user, repo, need) || need == authorized && shown:
		return user, nil
	case user != "":
		return "", problem(http.StatusForbidden, "DENIED", "you may not do that here")
	}
	s.challenge(w, r, kind, repo)
	return "", problem(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
}

// may tells whether a user has a right; the empty user is everybody.
func (s *Server) may(user, repo string, need right) bool {
	switch a := s.auth(); {
	case a == nil || need == free:
		return true
	case need == authorized:
		return user != ""
	case need == list:
		return user != "" || a.anonymous()
	case a.Access != nil:
		return a.Access.Allows(user, repo, need)
	default:
		return user != "" || a.AnonymousRead && need == pull
	}
}
