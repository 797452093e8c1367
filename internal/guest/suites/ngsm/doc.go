// Package ngsm tests package ptylink/mux against the kernel's own 3GPP TS 27.010 (n_gsm) in a guest: each as initiator and as
// responder, in basic and advanced option, over a pseudo terminal and over two emulated serial ports that the host joins.
package ngsm
