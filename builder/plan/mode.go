package plan

import (
	"fmt"
	"strconv"
	"strings"
)

// checkMode says whether a --chmod is an octal mode up to 07777 or a symbolic one: clauses of [ugoa]*([-+=][rwxXstugo]*)+
// between commas.
func checkMode(s string) error {
	if n, err := strconv.ParseUint(s, 8, 32); err == nil {
		if n > 0o7777 {
			return fmt.Errorf("invalid chmod parameter: '%v'. it should be octal string and between 0 and 07777", s)
		}
		return nil
	}
	if strings.Trim(s, "0123456789") == "" {
		return fmt.Errorf("invalid chmod parameter: '%v'. it should be octal string and between 0 and 07777", s)
	}
	for clause := range strings.SplitSeq(s, ",") {
		rest := strings.TrimLeft(clause, "ugoa")
		if rest == "" || !strings.ContainsRune("+-=", rune(rest[0])) || strings.Trim(rest, "+-=rwxXstugo") != "" {
			return fmt.Errorf("invalid chmod parameter: %q is not a mode such as 0755, u=rwX,go=rX or +x", s)
		}
	}
	return nil
}
