package work

import (
	"bytes"
	"math/rand/v2"
)

// noise is n bytes that no compressor shortens, the same for the same seed.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// prose is n bytes of words, about as compressible as source text.
func prose(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		switch r.IntN(9) {
		case 0:
			b.WriteString("\n\t")
		case 1:
			b.WriteByte(byte('a' + r.IntN(26)))
		}
		b.WriteByte(' ')
	}
	return b.Bytes()[:n]
}

var words = []string{
	"func", "return", "if", "err", "nil", "the", "layer", "of", "an", "image", "const", "import", "value", "string",
	"for", "range", "module", "exports", "require", "function", "this", "prototype", "undefined", "object", "=>", "{", "}",
	"();", "==", "!=", "/** a comment */", "0x7f", "1024", "true", "false", "interface", "struct", "type", "var",
}
