// The firmware configuration device of QEMU's PC (its docs/specs/fw_cfg.rst), without
// DMA: a selector and a data port, by which test kernels learn CPUs and memory.
#ifndef VIPERVISOR_DEV_FWCFG_H
#define VIPERVISOR_DEV_FWCFG_H

#include <stdbool.h>
#include <stdint.h>

#define FWCFG_FILES_SIZE 1024

enum { FWCFG_SELECTOR = 0x510, FWCFG_DATA = 0x511 };

struct fwcfg {
    uint64_t memory; // bytes of RAM
    uint16_t cpus;
    uint16_t selector;
    uint32_t at; // next byte of the selected item
    uint32_t start, end; // where it lies in `files`; equal: it is no file
    uint32_t files_size;
    uint8_t files[FWCFG_FILES_SIZE]; // the directory as it is read, then the files in its order
};

void fwcfg_init(struct fwcfg *f, uint16_t cpus, uint64_t memory);
// False: too large, or no directory with all its files and nothing behind them.
bool fwcfg_set_files(struct fwcfg *f, const uint8_t *files, uint64_t size);
void fwcfg_select(struct fwcfg *f, uint16_t key);
uint8_t fwcfg_read(struct fwcfg *f); // 0 past the item's end

#endif
