// Command primes prints the primes up to a number.
package main

import (
	"fmt"
	"os"
	"strconv"
)

func main() {
	limit, err := strconv.Atoi(os.Args[len(os.Args)-1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "usage: primes LIMIT")
		os.Exit(2)
	}
	composite := make([]bool, limit+1)
	for n := 2; n <= limit; n++ {
		if composite[n] {
			continue
		}
		fmt.Println(n)
		for m := n * n; m <= limit; m += n {
			composite[m] = true
		}
	}
}
