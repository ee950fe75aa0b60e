package compress

import "math/bits"

// A code is a table that decodes a Huffman code, bits in the order of the stream. Its first 1<<main entries are looked up
// by the next bits; where those are the beginning of longer codes, the entry points to a part of the table for the rest.
//
// An entry has its value in bits 16 to 30 (a literal, a base length or distance, or the place of the longer codes), the
// length of the code in bits 8 to 11 (or of the index into the longer codes), and in bits 0 to 7 how much of the stream
// it takes, the extra bits of a length or distance with it.
const (
	isLiteral = 1 << 31
	isSpecial = 1 << 15 // a part for longer codes, the end of the block, or no code at all
	isSub     = 1 << 14
	isEnd     = 1 << 13

	litMain, litSize   = 11, 8192
	distMain, distSize = 9, 2048
	maxCode            = 15
)

// build fills a table from the lengths of a canonical code. Like zlib it takes complete codes, a single code of one bit,
// and none at all; symbols[i] is the entry of symbol i without lengths.
func build(table []uint32, main uint, lengths []uint8, symbols []uint32) bool {
	var count, next [maxCode + 1]int
	longest := uint(0)
	for _, n := range lengths {
		if n > 0 {
			count[n]++
			longest = max(longest, uint(n))
		}
	}
	code := 0
	for i := uint(1); i <= longest; i++ {
		code <<= 1
		next[i] = code
		code += count[i]
	}
	if longest > 0 && code != 1<<longest && (code != 1 || longest != 1) {
		return false
	}
	if longest <= 1 { // no whole code: what it leaves out is no code
		for i := range table[:1<<main] {
			table[i] = isSpecial
		}
	} else if longest > main { // zero: the part for longer codes is not there yet
		clear(table[:1<<main])
	}
	free := 1 << main
	for i, n := range lengths {
		if n == 0 {
			continue
		}
		at := int(bits.Reverse16(uint16(next[n])) >> (16 - n))
		next[n]++
		if uint(n) <= main {
			e := symbols[i] + uint32(n)<<8 + uint32(n)
			for ; at < 1<<main; at += 1 << n {
				table[at] = e
			}
			continue
		}
		prefix, rest := at&(1<<main-1), longest-main
		if table[prefix] == 0 {
			table[prefix] = uint32(free)<<16 | isSpecial | isSub | uint32(rest)<<8 | uint32(main)
			free += 1 << rest
		}
		part := table[table[prefix]>>16:]
		e := symbols[i] + (uint32(n)-uint32(main))<<8 + uint32(n) - uint32(main)
		for k := at >> main; k < 1<<rest; k += 1 << (uint(n) - main) {
			part[k] = e
		}
	}
	return true
}
