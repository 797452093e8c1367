package softuicc

import (
	"fmt"
	"strings"
	"testing"
)

// seven opens every channel that the profile offers.
func seven(command string) (commands, answers []string) {
	for n := range 7 {
		commands = append(commands, command)
		answers = append(answers, fmt.Sprintf("830100 38028%d00 350103 39020578", n+1))
	}
	return commands, answers
}

// TestJudgeCatchesPeers shows the judge what other terminals do wrong, as far as the card can see it. The numbers are
// those of the list of deviations that this project keeps of its peers. Not to be seen from a card: what went over the
// network or did not (5, 10, 11, 23, 28), time (13, 37), logs and traces (24, 25, 26, 38), memory (35); a terminal that dies
// of a command (17) shows as 14 does.
func TestJudgeCatchesPeers(t *testing.T) {
	full, fullAnswers := seven(openT)
	small := pc("40", "01", "82", "350103 3902012C 3C03010050 3E05217F000001") // buffer of 300, UDP
	smallOK := "830100 38028100 350103 3902012C"
	bigBuffer := pc("40", "01", "82", "350103 3902058E 3C03020050 3E05217F000001")
	scenes := []scene{
		{name: "Tx overflow answered with success", peer: 1, commands: all(small, store, store), steps: []string{
			smallOK, "830100 B70164", "830100 B70100"}, want: []string{"400 octets stored in a Tx buffer of 300"}},
		{name: "Tx counter runs past the buffer", peer: 2, commands: all(small, store, pc("43", "00", "21", "B632"+strings.Repeat("55", 50))), steps: []string{
			smallOK, "830100 B70164", "830100 B701F0"}, want: []string{"240 octets free after 50 were stored where 100 were free"}},
		{name: "no free channel is 3A 00", peer: 3, commands: append(full[:7:7], openT), steps: append(fullAnswers[:7:7], "83023A00 350103 39020578"),
			want: []string{"with all 7 channels open answered 3A 00"}},
		{name: "no channel though some are free", peer: 3, commands: all(openT), steps: []string{"83023A01"}, want: []string{"0 of 7 channels are open"}},
		{name: "on demand: first SEND DATA finds no channel", peer: 4, commands: all(openDem, sendNow), steps: []string{
			"830100 38020100 350103 39020578", "83023A03"}, want: []string{"3A 03 (identifier not valid), but the channel is open"}},
		{name: "channel stays open after the reader ended", peer: 6, commands: all(evl, openT, receive), steps: []string{
			ok, opened, dataFF, receivedAnswer("02", 0, 0)}, want: []string{"255 octets or more were announced; 0 delivered"}},
		{name: "end by the peer without event", peer: 7, commands: all(evl, openT, sendNow), steps: []string{
			ok, opened, gone, "S", "S", "S"}, want: []string{"no Channel status event told of its end"}},
		{name: "result 21 without information", peer: 8, commands: all(openT), steps: []string{"830121 350103 39020578"}, want: []string{"result 21 in the response to OPEN CHANNEL lacks"}},
		{name: "event after a successful OPEN", peer: 9, commands: all(evl, openT, more), steps: []string{ok, opened, linkUp1}, want: []string{"without a change"}},
		{name: "event after a successful CLOSE", peer: 9, commands: all(evl, openT, closeC, more), steps: []string{ok, opened, ok, linkGo}, want: []string{"channel 1, which is not open"}},
		{name: "RECEIVE on an unknown channel is 3A 00", peer: 12, commands: all(receive), steps: []string{"83023A00"}, want: []string{"RECEIVE DATA on channel 1, never opened, answered 3A 00"}},
		{name: "dropped channel is 3A 00", peer: 12, commands: all(evl, openT, sendNow), steps: []string{ok, opened, linkGo, "83023A00"}, want: []string{"reported dropped, answered 3A 00"}},
		{name: "always channel 1", peer: 14, commands: all(openT, openT), steps: []string{opened, opened}, want: []string{"channel 1, which is open already"}},
		{name: "CLOSE gives no response", peer: 14, commands: all(openT, closeC, more), steps: []string{opened, "F", "A:801200000B"}, want: []string{"second FETCH"}},
		{name: "written data never sent", peer: 14, commands: all(sendNow), steps: []string{sentOK}, want: []string{"SEND DATA performed on channel 1, which is not open"}},
		{name: "device identities inverted", peer: 15, commands: all(openT, closeC), steps: []string{opened, "F", "A:801400000C 810301410082022181830100"}, want: []string{"device identities 2181"}},
		{name: "channel 8", peer: 16, commands: all(openT), steps: []string{"830100 38028800 350103 39020578"}, want: []string{"8800 names no channel"}},
		{name: "more channels than offered", peer: 16, profile: strings.Replace(goodProfile, "E2", "22", 1), commands: all(openT, openT), steps: []string{
			opened, "830100 38028200 350103 39020578"}, want: []string{"all 1 channels of TERMINAL PROFILE are open"}},
		{name: "profile of all ones", peer: 18, profile: strings.Repeat("FF", 32), want: []string{"every bit set"}},
		{name: "UDP offered, but not available", peer: 19, commands: all(openU), steps: []string{"83023A06"}, want: []string{"transport 01 answered 3A 06"}},
		{name: "UDP offered, but beyond capabilities", peer: 32, commands: all(openU), steps: []string{"830130"}, want: []string{"answered 30, but TERMINAL PROFILE offers it"}},
		{name: "DNS request refused", peer: 20, commands: all(dnsAsk), steps: []string{"830132"}, want: []string{"well formed, but answered 32"}},
		{name: "all of BIP answered 32", peer: 21, commands: all(openT, sendNow, receive, statuses), steps: []string{"830132", "830132", "830132", "830132"},
			want: []string{"OPEN CHANNEL is well formed", "SEND DATA is well formed", "RECEIVE DATA is well formed", "GET CHANNEL STATUS is well formed"}},
		{name: "OPEN without channel status", peer: 22, commands: all(openT), steps: []string{"830100 350103 39020578"}, want: []string{"no sound channel status (38)"}},
		{name: "GET CHANNEL STATUS without one", peer: 22, commands: all(statuses), steps: []string{"830100"}, want: []string{"no channel status (38)"}},
		{name: "1422 modified to itself", peer: 27, commands: all(bigBuffer), steps: []string{"830107 38028100 350103 3902058E"}, want: []string{"as asked"}},
		{name: "1422 cut without a word", peer: 27, commands: all(bigBuffer), steps: []string{opened}, want: []string{"1400 octets granted instead of 1422"}},
		{name: "bearer shifted", peer: 29, commands: all(openT), steps: []string{"830100 38028100 350102 39020578"}, want: []string{"bearer 03 answered with bearer 02"}},
		{name: "81 LL not understood", peer: 30, commands: all(openT, store), steps: []string{opened, "830136"}, want: []string{"SEND DATA is well formed, but answered 36"}},
		{name: "announced, then dropped", peer: 31, commands: all(evl, openT, receive), steps: []string{ok, opened, dataFF, gone}, want: []string{"while announced data were unread"}},
		{name: "drop told before the drain", peer: 31, commands: all(evl, openT, more), steps: []string{ok, opened, dataFF, linkGo}, want: []string{"before 255 octets or more in its Rx buffer were read"}},
		{name: "data told after the drop", peer: 33, commands: all(evl, openT, more), steps: []string{ok, opened, linkGo, "E:D60E 990109 82028281 B8020105 B70103"}, want: []string{"after the event that its link is dropped"}},
		{name: "Tx room computed from the Rx fill", peer: 34, commands: all(small, store), steps: []string{smallOK, "830100 B70100"}, want: []string{"0 octets free, but only 200 of the 300 granted are stored"}},
		{name: "SEND DATA on an unknown channel is 3A 00", peer: 36, commands: all(sendNow), steps: []string{"83023A00"}, want: []string{"SEND DATA on channel 1, never opened, answered 3A 00"}},
	}
	for _, s := range scenes {
		if s.peer == 0 {
			t.Errorf("%s: no number", s.name)
		}
		t.Run(s.name, s.play)
	}
}

// TestJudgeOfResponses goes through what else a TERMINAL RESPONSE can have wrong.
func TestJudgeOfResponses(t *testing.T) {
	scenes := []scene{
		{name: "number not echoed", commands: all(more), steps: []string{"F", "A:801400000C 810302020082028281830100"}, want: []string{"command details 020200 are not those of the command, 010200"}},
		{name: "qualifier not echoed", commands: all(sendNow), steps: []string{"F", "A:801400000D 81030143008202828183023A03"}, want: []string{"command details 014300"}},
		{name: "no details", commands: all(more), steps: []string{"F", "A:8014000007 82028281830100"}, want: []string{"without command details"}},
		{name: "no devices", commands: all(more), steps: []string{"F", "A:8014000008 8103010200830100"}, want: []string{"without device identities"}},
		{name: "no result", commands: all(more), steps: []string{"F", "A:8014000009 810301020082028281"}, want: []string{"without result"}},
		{name: "wrong order", commands: all(more), steps: []string{"F", "A:801400000C 820282818103010200830100"}, want: []string{"wrong order"}},
		{name: "result before devices", commands: all(more), steps: []string{"F", "A:801400000C 810301020083010082028281"}, want: []string{"wrong order"}},
		{name: "twice", commands: all(more), steps: []string{"830100 830100"}, want: []string{"object 03 comes twice"}},
		{name: "cut short", commands: all(more), steps: []string{"830200"}, want: []string{"length 2, only 1 octets left"}},
		{name: "no tag", commands: all(more), steps: []string{"830100 00"}, want: []string{"00 is no tag"}},
		{name: "tag in a longer form", commands: all(more), steps: []string{"830100 7F003800"}, want: []string{"tag 38 is in the three-byte form"}},
		{name: "empty result", commands: all(more), steps: []string{"8300"}, want: []string{"empty result"}},
		{name: "unassigned result", commands: all(more), steps: []string{"830142"}, want: []string{"result 42"}},
		{name: "BIP error elsewhere", commands: all(more), steps: []string{"83023A00"}, want: []string{"BIP error in the response to MORE TIME"}},
		{name: "unassigned BIP cause", commands: all(openT), steps: []string{"83023A42"}, want: []string{"cause 42"}},
		{name: "long form", commands: all(openT, receive2), steps: []string{opened, "830100 B681021111 B70100"}, want: []string{"not the shortest form"}},
		{name: "31 for a command that is offered", commands: all(poll), steps: []string{"830131"}, want: []string{"POLL INTERVAL answered 31"}},
		{name: "performs what it does not offer", commands: all(pc("21", "00", "02", "8D020441")), steps: []string{ok}, want: []string{"DISPLAY TEXT was performed, but TERMINAL PROFILE does not offer it"}},
		{name: "POLL INTERVAL without duration", commands: all(poll), steps: []string{ok}, want: []string{"no duration (04)"}},
		{name: "POLL INTERVAL of nothing", commands: all(poll), steps: []string{"830100 84020100"}, want: []string{"duration 0100"}},
		{name: "IMEI missing", commands: all(imei), steps: []string{ok}, want: []string{"no IMEI (14)"}},
		{name: "timer without identifier", commands: all(timer3), steps: []string{ok}, want: []string{"no timer identifier (24)"}},
		{name: "other timer", commands: all(timer3), steps: []string{"830100 A40104"}, want: []string{"timer 3 answered for timer 4"}},
		{name: "timer read without value", commands: all(timer3, readTmr), steps: []string{"830100 A40103", "830100 A40103"}, want: []string{"no timer value (25)"}},
		{name: "timer value not swapped", commands: all(timer3, readTmr), steps: []string{"830100 A40103", "830100 A40103 A503000059"}, want: []string{"timer value 000059"}},
		{name: "timer runs, says it does not", commands: all(timer3, readTmr), steps: []string{"830100 A40103", "830124"}, want: []string{"but the timer runs"}},

		{name: "OPEN in wrong order", commands: all(openT), steps: []string{"830100 350103 38028100 39020578"}, want: []string{"object 38 comes too late"}},
		{name: "OPEN without bearer", commands: all(openT), steps: []string{"830100 38028100 39020578"}, want: []string{"no bearer description"}},
		{name: "OPEN without buffer", commands: all(openT), steps: []string{"830100 38028100 350103"}, want: []string{"no sound buffer size"}},
		{name: "OPEN with buffer 0", commands: all(openT), steps: []string{"830107 38028100 350103 39020000"}, want: []string{"buffer of 0 octets"}},
		{name: "OPEN immediate, link down", commands: all(openT), steps: []string{"830100 38020100 350103 39020578"}, want: []string{"says that the link is down"}},
		{name: "OPEN performed and dropped", commands: all(openBack), steps: []string{"830100 38020105 350103 39020578"}, want: []string{"tells of a dropped link"}},
		{name: "OPEN client listens", commands: all(openT), steps: []string{"830100 38024100 350103 39020578"}, want: []string{"4100 for a client"}},
		{name: "server does not listen", profile: serverProfile, commands: all(openSrv), steps: []string{"830100 38028100 39020578"}, want: []string{"the state is listen"}},
		{name: "server not offered", commands: all(openSrv), steps: []string{"830100 38024100 39020578"}, want: []string{"transport 03, but TERMINAL PROFILE"}},
		{name: "OPEN refused with a link", commands: all(openT), steps: []string{"83023A00 38028100 350103 39020578"}, want: []string{"tells of a link"}},
		{name: "OPEN answered channel closed", commands: all(openT), steps: []string{"83023A02"}, want: []string{"speaks of a channel that exists"}},
		{name: "DNS request without servers", commands: all(dnsAsk), steps: []string{"830100 B8028100 350103 39020578"}, want: []string{"names no DNS server"}},
		{name: "DNS server of three octets", commands: all(dnsAsk), steps: []string{"830100 B8028100 350103 39020578 C004217F0000"}, want: []string{"DNS server address 217F0000"}},
		{name: "DNS request not offered", profile: strings.TrimSuffix(goodProfile, " 01"), commands: all(dnsAsk), steps: []string{"830100 B8028100 350103 39020578 C005217F000035"}, want: []string{"octet 33, bit 1"}},

		{name: "CLOSE with channel status", commands: all(openT, closeC), steps: []string{opened, "830100 38020100"}, want: []string{"object 38 does not belong"}},
		{name: "CLOSE of nothing", commands: all(closeC), steps: []string{ok}, want: []string{"CLOSE CHANNEL performed on channel 1, which is not open"}},
		{name: "closed channel answers 3A 00", commands: all(openT, closeC, sendNow), steps: []string{opened, ok, "83023A00"}, want: []string{"closed, answered 3A 00"}},
		{name: "SEND without length", commands: all(openT, sendNow), steps: []string{opened, ok}, want: []string{"no object 37"}},
		{name: "SEND with two octets of length", commands: all(openT, sendNow), steps: []string{opened, "830100 B7020100"}, want: []string{"channel data length of 2 octets"}},
		{name: "SEND into a dropped link", commands: all(evl, openT, sendNow), steps: []string{ok, opened, linkGo, sentOK}, want: []string{"the data are lost"}},
		{name: "SEND more than is free", commands: all(pc("40", "01", "82", "350103 390203E8 3C03010050 3E05217F000001"), store, store), steps: []string{
			"830100 38028100 350103 390203E8", "830100 B70164", "830100 B70100"}, want: []string{"100 octets free, but only 200 of the 1000", "200 octets stored where 100 were free"}},
		{name: "RECEIVE without data", commands: all(openT, receive), steps: []string{opened, "830102 B70100"}, want: []string{"no object 36"}},
		{name: "RECEIVE without length", commands: all(openT, receive), steps: []string{opened, "830102 B600"}, want: []string{"no object 37"}},
		{name: "RECEIVE in wrong order", commands: all(openT, receive), steps: []string{opened, "830102 B70100 B600"}, want: []string{"object 37 where 36", "object 36 where 37"}},
		{name: "RECEIVE more than asked", commands: all(openT, receive2), steps: []string{opened, receivedAnswer("00", 3, 0)}, want: []string{"2 octets answered with 3"}},
		{name: "RECEIVE less and 00", commands: all(openT, receive2), steps: []string{opened, receivedAnswer("00", 1, 0)}, want: []string{"missing information is 02"}},
		{name: "RECEIVE all and 02", commands: all(openT, receive2), steps: []string{opened, receivedAnswer("02", 2, 0)}, want: []string{"but the result is 02"}},
		{name: "RECEIVE less while more is there", commands: all(openT, receive2), steps: []string{opened, receivedAnswer("02", 1, 9)}, want: []string{"though 9 octets remain"}},
		{name: "RECEIVE loses octets", commands: all(openT, receive2, receive2), steps: []string{opened, receivedAnswer("00", 2, 9), receivedAnswer("00", 2, 6)}, want: []string{"9 octets were announced; 2 delivered and 6 left"}},
		{name: "UDP announced, none given", commands: all(evl, openU, receive), steps: []string{ok, opened, data3, receivedAnswer("02", 0, 0)}, want: []string{"RECEIVE DATA brought none"}},
		{name: "status of a channel twice", commands: all(openT, statuses), steps: []string{opened, "830100 B8028100 B8028100"}, want: []string{"channel 1 comes twice"}},
		{name: "status of a channel that is not", commands: all(statuses), steps: []string{"830100 B8028100"}, want: []string{"channel 1 is not open"}},
		{name: "status none, one open", commands: all(openT, statuses), steps: []string{opened, "830100 B8020000"}, want: []string{"but 1 are", "does not name channel 1"}},
		{name: "status of one octet", commands: all(statuses), steps: []string{"830100 B80100"}, want: []string{"channel status of 1 octets"}},
	}
	for _, s := range scenes {
		t.Run(s.name, s.play)
	}
}

// TestJudgeOfOrderAndEvents goes through APDUs in the wrong place, envelopes and profiles.
func TestJudgeOfOrderAndEvents(t *testing.T) {
	scenes := []scene{
		{name: "FETCH before the profile", profile: "none", steps: []string{"A:8012000010"}, want: []string{"FETCH before TERMINAL PROFILE"}},
		{name: "ENVELOPE before the profile", profile: "none", steps: []string{data3}, want: []string{"ENVELOPE before TERMINAL PROFILE"}},
		{name: "TERMINAL RESPONSE before the profile", profile: "none", steps: []string{"A:801400000C 810301020082028281830100"}, want: []string{"no command was fetched"}},
		{name: "FETCH of nothing", steps: []string{"A:8012000010"}, want: []string{"no 91xx has announced"}},
		{name: "TERMINAL RESPONSE without FETCH", commands: all(more), steps: []string{"A:801400000C 810301020082028281830100"}, want: []string{"no command was fetched"}},
		{name: "two TERMINAL RESPONSEs", commands: all(more, more), steps: []string{ok, "A:801400000C 810301020082028281830100"}, want: []string{"no command was fetched"}},
		{name: "ENVELOPE in a session", commands: all(more), steps: []string{"F", data3}, want: []string{"ENVELOPE between FETCH and TERMINAL RESPONSE of MORE TIME"}},
		{name: "profile in a session", commands: all(more), steps: []string{"F", "A:801000000101"}, want: []string{"TERMINAL PROFILE between"}},

		{name: "event not subscribed", commands: all(openT, more), steps: []string{opened, data3}, want: []string{"event 09, to which no"}},
		{name: "list replaced", commands: all(evl, pc("05", "00", "82", "9900"), openT, more), steps: []string{ok, ok, opened, data3}, want: []string{"event 09, to which no"}},
		{name: "refused list", commands: all(evl, openT, more), steps: []string{"83022001", opened, data3}, want: []string{"event 09, to which no"}},
		{name: "event not offered", profile: strings.Replace(goodProfile, "11 0C", "11 08", 1), commands: all(evl, openT, more), steps: []string{ok, opened, data3}, want: []string{"event 09, which TERMINAL PROFILE does not offer"}},
		{name: "data available twice", commands: all(evl, openT, more), steps: []string{ok, opened, data3, data3}, want: []string{"second Data available event for channel 1 while 3 octets"}},
		{name: "data available in the chain", commands: all(evl, openT, receive2, more), steps: []string{ok, opened, dataFF, receivedAnswer("00", 2, 255), dataFF}, want: []string{"second Data available"}},
		{name: "data available of nothing", commands: all(evl, openT, more), steps: []string{ok, opened, "E:D60E 990109 82028281 B8028100 B70100"}, want: []string{"with no data"}},
		{name: "data available shrinks", commands: all(evl, openT, receive2), steps: []string{ok, opened, dataFF, receivedAnswer("00", 2, 255), data3}, want: []string{"255 octets or more were announced before"}},
		{name: "data available for no channel", commands: all(evl, more), steps: []string{ok, data3}, want: []string{"channel 1, which is not open"}},
		{name: "data available for channel 0", commands: all(evl, more), steps: []string{ok, "E:D60E 990109 82028281 B8028000 B70103"}, want: []string{"channel status 8000"}},
		{name: "data available, wrong order", commands: all(evl, openT, more), steps: []string{ok, opened, "E:D60E 990109 82028281 B70103 B8028100"}, want: []string{"object 3 is not 38"}},
		{name: "data available, two octets of length", commands: all(evl, openT, more), steps: []string{ok, opened, "E:D60F 990109 82028281 B8028100 B7020103"}, want: []string{"length of 2 octets"}},
		{name: "devices of an event", commands: all(evl, openT, more), steps: []string{ok, opened, "E:D60E 990109 82028381 B8028100 B70103"}, want: []string{"8381 instead of 8281"}},
		{name: "devices of a network rejection", commands: all(pc("05", "00", "82", "990112"), more), steps: []string{ok, "E:D607 990112 82028281"}, want: []string{"8281 instead of 8381"}},
		{name: "two events", commands: all(evl, more), steps: []string{ok, "E:D60B 99020309 82028281 9B0102"}, want: []string{"with 2 events"}},
		{name: "event without list", commands: all(evl, more), steps: []string{ok, "E:D604 82028281"}, want: []string{"object 1 is not 19"}},
		{name: "drop told twice", commands: all(evl, openT, more), steps: []string{ok, opened, linkGo, linkGo}, want: []string{"second Channel status event"}},
		{name: "up and dropped", commands: all(evl, openBack, more), steps: []string{ok, "830100 38020100 350103 39020578", "E:D60B 99010A 82028281 B8028105"}, want: []string{"established and dropped"}},
		{name: "client listens", commands: all(evl, openT, more), steps: []string{ok, opened, "E:D60B 99010A 82028281 B8024100"}, want: []string{"no such state"}},
		{name: "unassigned information", commands: all(evl, openT, more), steps: []string{ok, opened, "E:D60B 99010A 82028281 B8020142"}, want: []string{"42 is not assigned"}},
		{name: "location without information", commands: all(evl, more), steps: []string{ok, "E:D60A 990103 82028281 9B0100"}, want: []string{"location information comes with normal service"}},
		{name: "location status 7", commands: all(evl, more), steps: []string{ok, "E:D60A 990103 82028281 9B0107"}, want: []string{"location status 07"}},
		{name: "timer that does not run", commands: all(more), steps: []string{"E:D70C 82028281 A40103 A503001000"}, want: []string{"timer 3 expired, but it does not run"}},
		{name: "timer 9", commands: all(more), steps: []string{"E:D70C 82028281 A40109 A503001000"}, want: []string{"identifier 09"}},
		{name: "timer without value", commands: all(more), steps: []string{"E:D707 82028281 A40103"}, want: []string{"object 3 is not 25"}},
		{name: "SMS-PP without TPDU", commands: all(more), steps: []string{"E:D104 82028381"}, want: []string{"without SMS TPDU"}},
		{name: "SMS-PP from the terminal", commands: all(more), steps: []string{"E:D109 82028281 8B03010203"}, want: []string{"8281 instead of 8381"}},
		{name: "broken envelope", commands: all(more), steps: []string{"E:D605 990109"}, want: []string{"length 5, 3 octets follow"}},
		{name: "unknown template", commands: all(more), steps: []string{"E:E000"}, want: []string{"template E0"}},

		{name: "profile without profile download", profile: "00", want: []string{"denies profile download"}},
		{name: "display that is none", profile: "01" + strings.Repeat("00", 12) + "24", want: []string{"there is no display"}},
		{name: "keypad that is none", profile: "0100" + "02" + strings.Repeat("00", 10) + "40", want: []string{"there is no keypad"}},
		{name: "half a timer", profile: "01" + strings.Repeat("00", 6) + "01", want: []string{"one half of TIMER MANAGEMENT"}},
		{name: "no channels", profile: "01" + strings.Repeat("00", 10) + "0F02", want: []string{"number of channels, 0"}},
		{name: "channels for nothing", profile: "01" + strings.Repeat("00", 11) + "E2", want: []string{"number of channels, 7"}},
		{name: "no CLOSE CHANNEL", profile: "01" + strings.Repeat("00", 10) + "0DE2", want: []string{"OPEN CHANNEL and CLOSE CHANNEL"}},
	}
	for _, s := range scenes {
		t.Run(s.name, s.play)
	}
}

func TestViolationsAreToldAndBounded(t *testing.T) {
	told := 0
	c := newCard(t, Config{OnViolation: func(Violation) { told++ }})
	e := newTerminal(t, c)
	for range maxViolations + 10 {
		e.hex("8012000010")
	}
	want(t, "told", told, maxViolations+10)
	v := c.Violations()
	want(t, "kept", len(v), maxViolations)
	want(t, "line", v[0].String(), "5.2: FETCH before TERMINAL PROFILE [8012000010]")
}
