// Command answers writes docs/terminal-answers.md: what the terminal answers to a card. It asks the terminal itself: for
// each line of the page a software card sends a command to a CP, as bipd runs it, and the answer is what the line says.
package main

import (
	"context"
	"fmt"
	"os"
)

//go:generate go run . ../../docs/terminal-answers.md

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: answers FILE")
		os.Exit(2)
	}
	text, err := page(context.Background())
	if err == nil {
		err = os.WriteFile(os.Args[1], text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "answers:", err)
		os.Exit(1)
	}
}
