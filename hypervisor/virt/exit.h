// The neutral exit record: what a vCPU left its world for, in no vendor's terms.
#ifndef VIPERVISOR_VIRT_EXIT_H
#define VIPERVISOR_VIRT_EXIT_H

#include <stdbool.h>
#include <stdint.h>

enum exit_kind {
    EXIT_NONE, // the back end dealt with it; enter again
    EXIT_CPUID,
    EXIT_RDMSR,
    EXIT_WRMSR,
    EXIT_IO,
    EXIT_NESTED_FAULT, // nested-page fault (AMD) or EPT violation (Intel)
    EXIT_HYPERCALL,
    EXIT_HLT,
    EXIT_WINDOW, // the guest can take an interrupt now
    EXIT_NMI_WINDOW,
    EXIT_INTERRUPT, // a physical interrupt, already served through the host IDT
    EXIT_NMI, // a physical NMI
    EXIT_SHUTDOWN, // triple fault
    EXIT_CR,
    EXIT_DR,
    EXIT_XSETBV,
    EXIT_EXCEPTION, // an intercepted guest exception
    EXIT_PAUSE,
    EXIT_WBINVD, // and INVD
    EXIT_VIRT_INSN, // VMX or SVM instruction: #UD in the guest
    EXIT_OTHER_INSN, // any other known instruction exit (MONITOR, RDPMC, ...)
    EXIT_TASK_SWITCH, // of a 32-bit guest, where the CPU leaves it to us
    EXIT_NESTED_MISCONFIG, // our tables are wrong
    EXIT_ENTRY_FAILED, // the CPU refused to enter: explained in the crash record
    EXIT_UNKNOWN, // a reason that nobody here knows
    EXIT_KINDS
};

// What Python may claim besides: every exit by its raw reason, and accesses to device memory.
enum { CLAIM_RAW = EXIT_KINDS, CLAIM_MMIO, CLAIM_KINDS };

// Memory access of a nested fault or a page walk, one bit each.
enum { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_FETCH = 4, ACCESS_USER = 8 };

// Of an EXIT_NESTED_FAULT: which instruction it was is left to its handler, which sets the
// length.
#define EXIT_LENGTH_LATER UINT32_MAX

struct exit_record {
    uint32_t kind; // enum exit_kind
    uint32_t length; // of the instruction in bytes; 0: the CPU does not say; or EXIT_LENGTH_LATER
    uint64_t raw; // the vendor's exit reason or code, for messages only
    uint64_t qualification; // the vendor's detail word(s), for messages only
    uint64_t qualification2;
    union {
        struct {
            uint16_t port;
            uint8_t size; // 1, 2, 4
            bool in, string, rep;
        } io;
        struct {
            uint64_t gpa;
            bool table_walk; // the guest's own page-table walk faulted
            bool data; // an instruction's operand, and no event was being delivered
            uint8_t access; // ACCESS_*
        } nested;
        struct {
            uint8_t number; // 0, 3, 4, 8
            uint8_t op; // enum cr_op
            uint8_t gpr; // 0..15; meaningless when !decoded
            bool decoded; // false: get op and gpr from the decoder
            uint16_t lmsw_source;
        } cr;
        struct {
            uint8_t number;
            bool write;
            uint8_t gpr;
            bool decoded;
        } dr;
        struct {
            uint8_t cpl;
        } hypercall;
        struct {
            uint8_t vector;
            bool has_error;
            uint32_t error;
            uint64_t address; // CR2 of a page fault
        } exception;
        struct {
            uint16_t selector; // of the new task
            uint8_t source; // enum task_source
            bool fault; // an exception comes through the gate, so the old task restarts with RF
            bool has_error;
            uint32_t error;
        } task; // length is 0 where RIP is already where the old task goes on
    };
};

enum task_source { TASK_CALL, TASK_IRET, TASK_JMP, TASK_GATE };
enum cr_op { CR_WRITE, CR_READ, CR_CLTS, CR_LMSW };

struct vcpu;
// Answers an exit: false leaves the run loop with RIP where it is.
typedef bool exit_handler(struct vcpu *v, struct exit_record *e);

// What an exit is about, as it was before anybody answered it. The first word is what
// filters compare:
//   cpuid      leaf, subleaf              hypercall  number, RBX, RCX, RDX, RSI
//   rdmsr      index, 0                   exception  vector, error code, address
//   wrmsr      index, EDX:EAX             cr, dr     number, enum cr_op, value written
//   io         port, size, write, value   others     raw reason, qualification
//   nested_fault  guest-physical address, size (0: not known yet), write, value
#define EXIT_WORDS 5
struct exit_words {
    uint64_t word[EXIT_WORDS];
};

// Accesses of one emulated instruction that Python serves. Each leaves the instruction
// undone while Python is asked; the guest then executes it again, and the answers given
// so far are taken from the log.
#define SERVED_ACCESSES 20 // 16 bytes read and written across two pages, byte by byte
struct served_access {
    uint64_t at, value; // port or guest-physical address
    uint8_t size;
    bool write;
};
struct served {
    bool active; // an instruction with claims is being carried out
    bool asking; // nothing it does counts any more: Python is asked first
    uint8_t count, next; // answers in the log, and taken from it
    uint64_t rip;
    struct served_access log[SERVED_ACCESSES];
    uint64_t gpr[16]; // before the instruction, or its present string element
};

// Beside the record in the mailbox of a vCPU that waits.
struct exit_message {
    struct exit_words words;
    uint32_t slots; // claims that wait, one bit each; 0: the core itself asks
    uint32_t instead; // those of them that the core is not asked for before
    uint32_t watched; // watches that are to see the answer
    uint32_t state; // enum vcpu_state to go on in
    uint32_t length; // of the instruction, whatever the core made of it
    bool asked_core; // the core has answered
    bool moved; // RIP is where it goes on: do not skip the instruction
    bool injected; // an event takes the place of the answer
    bool answered; // Python said something
    bool served; // one access of an instruction that is carried out here (struct served)
};

#endif
