package compress

// lengthOrder is the order in which the lengths of the code for code lengths come.
var lengthOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamic reads the codes of a block.
func (f *inflater) dynamic() error {
	if err := f.need(14); err != nil {
		return err
	}
	nlit, ndist, nlen := int(f.take(5))+257, int(f.take(5))+1, int(f.take(4))+4
	if nlit > 286 || ndist > 30 {
		return errCorrupt
	}
	var lens [19]uint8
	for _, at := range lengthOrder[:nlen] {
		if err := f.need(3); err != nil {
			return err
		}
		lens[at] = uint8(f.take(3))
	}
	if !build(f.lenTable[:], 7, lens[:], lenSymbols[:]) {
		return errCorrupt
	}
	if err := f.readLengths(nlit + ndist); err != nil {
		return err
	}
	if !build(f.lit[:], litMain, f.lengths[:nlit], litSymbols[:]) || !build(f.dist[:], distMain, f.lengths[nlit:nlit+ndist], distSymbols[:]) {
		return errCorrupt
	}
	return nil
}

// readLengths reads the lengths of the literal and distance codes, which are coded themselves.
func (f *inflater) readLengths(n int) error {
	for i := 0; i < n; {
		e, err := f.lengthSymbol()
		if err != nil {
			return err
		}
		if e < 16 {
			f.lengths[i] = uint8(e)
			i++
			continue
		}
		again, extra, value := 3, uint(2), uint8(0)
		switch e {
		case 16:
			if i == 0 {
				return errCorrupt
			}
			value = f.lengths[i-1]
		case 17:
			extra = 3
		case 18:
			again, extra = 11, 7
		}
		if err := f.need(extra); err != nil {
			return err
		}
		again += int(f.take(extra))
		if i+again > n {
			return errCorrupt
		}
		for range again {
			f.lengths[i] = value
			i++
		}
	}
	return nil
}

// lengthSymbol decodes one symbol, which may be the last of the input: its bits are asked for one by one.
func (f *inflater) lengthSymbol() (uint32, error) {
	for n := uint(1); ; n++ {
		if err := f.need(n); err != nil {
			return 0, err
		}
		e := f.lenTable[f.bits&(1<<7-1)&(1<<f.nb-1)]
		if e&isSpecial != 0 && f.nb >= 7 {
			return 0, errCorrupt
		}
		if e&isSpecial == 0 && uint(e&63) <= f.nb {
			f.take(uint(e & 63))
			return e >> 16, nil
		}
		n = max(n, f.nb)
	}
}

// fixed makes the codes that a block of type 1 has.
func (f *inflater) fixed() error {
	lens := f.lengths[:288]
	for i := range lens {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		default:
			lens[i] = 8
		}
	}
	ok := build(f.lit[:], litMain, lens, litSymbols[:])
	five := f.lengths[:32]
	for i := range five {
		five[i] = 5
	}
	if !ok || !build(f.dist[:], distMain, five, distSymbols[:]) {
		return errCorrupt
	}
	return nil
}

// The entries of the symbols, without the lengths of their codes.
var (
	lenSymbols  = plainSymbols()
	litSymbols  = literalSymbols()
	distSymbols = distanceSymbols()
)

func plainSymbols() (t [19]uint32) {
	for i := range t {
		t[i] = uint32(i) << 16
	}
	return t
}

func literalSymbols() (t [288]uint32) {
	for i := range 256 {
		t[i] = uint32(i)<<16 | isLiteral
	}
	t[256] = isSpecial | isEnd
	base := 3
	for i := range 28 {
		extra := max(i/4-1, 0)
		t[257+i] = uint32(base)<<16 | uint32(extra)
		base += 1 << extra
	}
	t[285] = maxMatch << 16
	t[286], t[287] = isSpecial, isSpecial
	return t
}

func distanceSymbols() (t [32]uint32) {
	base := 1
	for i := range 30 {
		extra := max(i/2-1, 0)
		t[i] = uint32(base)<<16 | uint32(extra)
		base += 1 << extra
	}
	t[30], t[31] = isSpecial, isSpecial
	return t
}
