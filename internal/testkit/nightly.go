package testkit

import "os"

// Nightly reports whether tests that have a short and a whole form run the whole one (make nightly sets NIGHTLY=1).
func Nightly() bool { return os.Getenv("NIGHTLY") != "" }
