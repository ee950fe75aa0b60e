package runner

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// NewID makes a container's identity: 256 random bits in lower-case hex.
func NewID() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// ValidID reports whether s is a whole container identity.
func ValidID(s string) bool {
	return len(s) == 64 && isHex(s)
}

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

// CheckName reports whether s may name a container or a volume: docker's rule
// (a letter or digit, then one or more of letters, digits, "_", "." and "-"),
// and at most 255 bytes, so that a name is always one harmless path element.
func CheckName(s string) error {
	if len(s) < 2 || len(s) > 255 || !isAlnum(s[0]) {
		return fmt.Errorf("name %q is not valid: it must be 2 to 255 of [a-zA-Z0-9_.-] and start with a letter or digit", s)
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !isAlnum(c) && c != '_' && c != '.' && c != '-' {
			return fmt.Errorf("name %q is not valid: it must be 2 to 255 of [a-zA-Z0-9_.-] and start with a letter or digit", s)
		}
	}
	return nil
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// Words of which names are made: what a load is like and who carries it.
var (
	nameMoods = [...]string{
		"able", "agile", "airy", "ample", "apt", "blithe", "bold", "brave", "breezy", "brisk",
		"bright", "calm", "candid", "cheery", "clear", "clever", "cosy", "crisp", "daring", "deft",
		"eager", "earnest", "easy", "fair", "fleet", "fond", "frank", "fresh", "gentle", "glad",
		"golden", "grand", "happy", "hardy", "hearty", "humble", "jolly", "keen", "kind", "lively",
		"loyal", "lucid", "mellow", "merry", "mild", "neat", "nimble", "noble", "patient", "placid",
		"plucky", "polite", "proud", "quick", "quiet", "ready", "robust", "serene", "sharp", "silent",
		"smart", "snug", "sober", "solid", "spry", "steady", "sturdy", "subtle", "sunny", "swift",
		"tidy", "trusty", "upbeat", "vivid", "warm", "wise", "witty", "zesty",
	}
	nameTrades = [...]string{
		"baker", "binder", "boatman", "brewer", "bricklayer", "builder", "carpenter", "carter", "carver", "caulker",
		"chandler", "clerk", "cobbler", "cooper", "cutler", "drayman", "draper", "dyer", "farrier", "ferryman",
		"fletcher", "forester", "fuller", "gardener", "gilder", "glazier", "glover", "hatter", "hewer", "joiner",
		"lamplighter", "mason", "miller", "miner", "painter", "paver", "piper", "plasterer", "plumber", "porter",
		"potter", "printer", "quarrier", "roofer", "roper", "saddler", "sawyer", "scribe", "shepherd", "shipwright",
		"slater", "smith", "spinner", "stoker", "tailor", "tanner", "thatcher", "tiler", "tinker", "turner",
		"wainwright", "warden", "weaver", "wheelwright",
	}
)

// RandomName makes a name such as "steady_mason". Later tries add digits, so
// that a store full of containers still yields one.
func RandomName(try int) string {
	var b [8]byte
	rand.Read(b[:])
	n := binary.LittleEndian.Uint64(b[:])
	mood := nameMoods[n%uint64(len(nameMoods))]
	trade := nameTrades[n>>16%uint64(len(nameTrades))]
	if try == 0 {
		return mood + "_" + trade
	}
	return fmt.Sprintf("%s_%s%d", mood, trade, n>>40%10_000)
}
