package cat

import (
	"context"
	"slices"
	"testing"
	"time"
)

// TestLocalInfo asks for each information, configured or not.
func TestLocalInfo(t *testing.T) {
	at := time.Date(2031, 12, 9, 23, 5, 47, 0, time.FixedZone("", -(3*3600+1800)))
	full := &LocalInfo{IMEI: "490154203237518", IMEISV: "4901542032375101", Location: Location{LocationNormal, unhex(t, "62F220123400015678")}.Fixed(), Language: "de", Now: func() time.Time { return at }}
	tests := []struct {
		name      string
		info      *LocalInfo
		qualifier byte
		result    GeneralResult
		objects   string
	}{
		{"location", full, LocalLocation, ResultOK, "930962F220123400015678"},
		{"IMEI", full, LocalIMEI, ResultOK, "94084A09512430325781"},
		{"IMEISV", full, LocalIMEISV, ResultOK, "E2094309512430325701F1"},
		{"date and time", full, LocalDateTime, ResultOK, "A60713219032507449"},
		{"language", full, LocalLanguage, ResultOK, "AD026465"},
		{"no location", &LocalInfo{}, LocalLocation, ResultTerminalUnable, ""},
		{"no service", &LocalInfo{Location: Location{LocationNoService, unhex(t, "00F11000010001")}.Fixed()}, LocalLocation, ResultTerminalUnable, ""},
		{"limited service", &LocalInfo{Location: Location{LocationLimited, unhex(t, "00F11000010001")}.Fixed()}, LocalLocation,
			ResultLimitedService, "930700F11000010001"},
		{"no IMEI", &LocalInfo{}, LocalIMEI, ResultBeyondCapabilities, ""},
		{"no IMEISV", &LocalInfo{}, LocalIMEISV, ResultBeyondCapabilities, ""},
		{"no language", &LocalInfo{}, LocalLanguage, ResultBeyondCapabilities, ""},
		{"access technology", full, LocalAccessTechnology, ResultBeyondCapabilities, ""},
		{"something new", full, 0x55, ResultBeyondCapabilities, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.info.Handle(context.Background(), NewCommand(1, tt.qualifier, &ProvideLocalInformation{})).Response
			if r.Result.General != tt.result {
				t.Errorf("%v", r.Result)
			}
			if got := AppendTLVs(nil, r.Objects); !slices.Equal(got, unhex(t, tt.objects)) {
				t.Errorf("%X, want %s", got, tt.objects)
			}
		})
	}
	if f := full.Facilities(); !slices.Contains(f, FacilityLanguage) || slices.Contains((&LocalInfo{}).Facilities(), FacilityLanguage) {
		t.Errorf("facilities %v", f)
	}
}
