package ptylink

import "errors"

// Errors of the line, beside those of packages at and mux, which are wrapped.
var (
	// ErrDown means that the line is not up, or went down under the request. What the request did is unknown.
	ErrDown = errors.New("ptylink: the line is down")
	// ErrNoMux means that the line is up without the multiplexer: it carries AT, but no channels.
	ErrNoMux = errors.New("ptylink: the line has no multiplexer")
	// ErrAnswer means that the AP answered OK, but not what the command asks for.
	ErrAnswer = errors.New("ptylink: unexpected answer")
	// ErrHangup means that nobody holds the other end of a pty any more.
	ErrHangup = errors.New("ptylink: the other end has hung up")
)
