// Package ptylink is the serial line between the communication processor (CP) and the application processor (AP): a pty
// pair on one box, a UART between two. It brings the line up at both ends (Link at the CP, Peer at the AP), starts the
// multiplexer on it, brings it back after the other end was restarted, and spells the commands of the line once for both.
//
// The line starts in AT mode. AT+CMUX (3GPP TS 27.007 5.7) starts the multiplexer of 3GPP TS 27.010: DLC 0 is control, DLC
// 1 carries AT, DLC 1+n carries BIP channel n (1..7).
//
// # Restart of one end
//
// On a pty the kernel tells: the other end reads the end of the file. On a UART nobody does, and the end that was not
// restarted may still be in the other mode. So each end that opens a line in AT mode sends what closes a multiplexer (CLD,
// then DISC on DLCI 0, in both options, then CR; see closeDown): the AP once as it opens the line, the CP whenever AT gets no
// answer. A multiplexer ends by it in order; an AT server or client drops the octets as a line that is no line. If that is
// lost too, the keep-alive of either multiplexer ends it some seconds later.
//
// # Serial ports
//
// A line with a speed is a serial port: N1 and T1 fit the speed, each frame is a write that returns when little is left in the
// kernel, and the CP asks for the payload check of package mux, since 27.010 has none for data: AT%MUXCHK=? tells whether
// the AP knows it, then AT%MUXCHK=1,<nonce> holds for AT+CMUX on the next command line. An AP of another make leaves
// the line without, unless the check is required (CheckOn).
//
// The line may change what is said before the multiplexer runs. So no refusal and no silence is believed before the question
// was asked three times; what both ends agreed on is compared by the key of the check; and a line that once had the
// multiplexer or the check goes on wanting it. AT in AT mode has no check: a line without multiplexer can change a value.
package ptylink
