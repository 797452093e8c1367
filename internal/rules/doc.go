// Package rules holds the repository's rules as tests: which package may import which, and what every file keeps to.
// It has no code of its own.
package rules
